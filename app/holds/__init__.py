"""Holds of orders: place, release, and end those whose time is over. The order services do the work."""
