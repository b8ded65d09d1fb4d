"""Celery: what reacts to an order's events and what runs on a schedule. Run as `celery -A tasks`."""

from tasks.celery import app

__all__ = ["app"]
