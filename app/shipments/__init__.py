"""Shipments: an order is shipped in one parcel or in several, each with its own tracking."""
