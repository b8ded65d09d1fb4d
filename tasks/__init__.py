"""Celery: the tasks that follow an order's events, and the scheduled ones. Run as `celery -A tasks`."""

from tasks.celery import app

__all__ = ["app"]
