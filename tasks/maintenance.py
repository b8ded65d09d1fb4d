"""The tasks that beat starts; each finds its work in the database, so a tick may be missed or doubled."""

import structlog

from app import gauges
from app.errors import ProviderUnavailable
from app.notifications.announce import forget_mail_counts, overdue_notifications
from app.orders import sweeping
from app.payments.events import events_due, purge_events
from app.reconciliation import run as reconciling
from app.stock.load import finish_loads
from app.webhooks.delivery import endpoints_due, purge_deliveries
from tasks.celery import app
from tasks.composition import services
from tasks.payment_events import MOST_PER_MESSAGE, take_in_events
from tasks.steps import WAITING_WITH_BEATS, deliver_notifications, free_tasks, send, send_all
from tasks.webhooks import send_webhooks

# Seconds. Beat ticks each second, so a reconciliation has one process of a worker for a third of the time.
_SLICE = 0.3

log = structlog.get_logger()


@app.task(name="maintenance.sweep")
def sweep() -> None:
    """Sends again what should have been done by now, unless it is only late: its queue is still busy."""
    sweeping.send_overdue(services().orders, free_tasks(WAITING_WITH_BEATS), send_all)


@app.task(name="maintenance.retry_notifications")
def retry_notifications() -> None:
    """Sends for the delivery of notifications whose next attempt is due."""
    if free_tasks(WAITING_WITH_BEATS)(deliver_notifications.name):
        send_all({deliver_notifications.name: overdue_notifications(services().notifications)})


@app.task(name="maintenance.retry_webhooks")
def retry_webhooks() -> None:
    """Sends for the webhooks whose next attempt is due, by their endpoints."""
    if free_tasks(WAITING_WITH_BEATS)(send_webhooks.name):
        send_all({send_webhooks.name: endpoints_due(services().webhooks)})


@app.task(name="maintenance.send_payment_events")
def send_payment_events() -> None:
    """Sends for the work on what the payment provider told, new or to be tried again."""
    if free_tasks(WAITING_WITH_BEATS)(take_in_events.name):
        ids = events_due(services().payments)
        for start in range(0, len(ids), MOST_PER_MESSAGE):
            send(take_in_events.name, ids[start : start + MOST_PER_MESSAGE])


@app.task(name="maintenance.expire")
def expire() -> None:
    """Cancels the orders that were not confirmed in time."""
    sweeping.expire_orders(services().orders)


@app.task(name="maintenance.finish_loads")
def finish_stock_loads() -> None:
    """Finishes the loads of stock levels that were cut off."""
    finish_loads(services().stock)


@app.task(name="maintenance.reconcile")
def reconcile() -> None:
    """Does a slice of the reconciliation that is under way or, by the schedule, is to begin."""
    try:
        reconciling.go_on(services().reconciliation, _SLICE)
    except ProviderUnavailable as error:
        log.warning("reconciliation will go on", reason=str(error))


@app.task(name="maintenance.count_orders")
def count_orders() -> None:
    """Counts the orders by status, for the metrics, if that is due."""
    gauges.count_orders(services())


@app.task(name="maintenance.purge")
def purge() -> None:
    """Removes deleted orders and ended payment events and webhooks after their retention, and mail counts."""
    sweeping.purge_deleted_orders(services().orders)
    purge_events(services().payments)
    purge_deliveries(services().webhooks)
    forget_mail_counts(services().notifications)
