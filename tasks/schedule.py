"""The tasks that beat starts, and how often. To add a scheduled task, add a row."""

from datetime import timedelta

EVERY = {
    "maintenance.sweep": timedelta(seconds=1),
    "maintenance.retry_notifications": timedelta(seconds=2),
    "maintenance.retry_webhooks": timedelta(seconds=1),
    "maintenance.send_payment_events": timedelta(seconds=1),
    "maintenance.expire": timedelta(seconds=2),
    "maintenance.deal_stock": timedelta(seconds=1),
    "maintenance.finish_loads": timedelta(seconds=10),
    "maintenance.number_orders": timedelta(seconds=5),
    "maintenance.reconcile": timedelta(seconds=1),
    "maintenance.count_orders": timedelta(seconds=10),
    "maintenance.purge": timedelta(hours=1),
}

SCHEDULE = {name: {"task": name, "schedule": interval} for name, interval in EVERY.items()}
# While this many messages wait, beat sends no more, since a waiting message does the same work. Messages do
# not expire instead, since a worker with a fast clock would drop them all.
MOST_WAITING = 2 * len(EVERY)
