"""What beat starts, and how often. Adding a scheduled task is adding a row."""

from datetime import timedelta

EVERY = {
    "maintenance.sweep": timedelta(seconds=1),
    "maintenance.retry_notifications": timedelta(seconds=2),
    "maintenance.retry_webhooks": timedelta(seconds=1),
    "maintenance.send_payment_events": timedelta(seconds=1),
    "maintenance.expire": timedelta(seconds=2),
    "maintenance.finish_loads": timedelta(seconds=10),
    "maintenance.reconcile": timedelta(seconds=1),
    "maintenance.count_orders": timedelta(seconds=10),
    "maintenance.purge": timedelta(hours=1),
}

# A tick that no worker took up before the next one is of no use to anybody.
SCHEDULE = {
    name: {"task": name, "schedule": interval, "options": {"expires": interval.total_seconds()}}
    for name, interval in EVERY.items()
}
