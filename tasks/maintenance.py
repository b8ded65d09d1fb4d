"""The tasks that beat starts. Each finds its work in the database, so a missed or double tick is harmless."""

import structlog

from app import gauges
from app.errors import ProviderUnavailable
from app.holds.service import expire_holds
from app.notifications.announce import forget_mail_counts, overdue_notifications
from app.orders import sweeping
from app.payments.events import events_due, purge_events
from app.reconciliation import run as reconciling
from app.stock.load import finish_loads
from app.stock.taking import deal_stock
from app.webhooks.delivery import endpoints_due, purge_deliveries
from tasks.celery import app
from tasks.composition import services
from tasks.payment_events import MOST_PER_MESSAGE, take_in_events
from tasks.steps import WAITING_WITH_BEATS, deliver_notifications, free_tasks, send, send_all
from tasks.webhooks import send_webhooks

# Seconds. Beat ticks each second, so a reconciliation uses one worker process for a third of the time.
_SLICE = 0.3

log = structlog.get_logger()


@app.task(name="maintenance.sweep")
def sweep() -> None:
    """Sends overdue steps again, unless their queue is busy, which means that they are only late."""
    sweeping.send_overdue(services().orders, free_tasks(WAITING_WITH_BEATS), send_all)


@app.task(name="maintenance.retry_notifications")
def retry_notifications() -> None:
    """Publishes the delivery of notifications whose next attempt is due."""
    if free_tasks(WAITING_WITH_BEATS)(deliver_notifications.name):
        send_all({deliver_notifications.name: overdue_notifications(services().notifications)})


@app.task(name="maintenance.retry_webhooks")
def retry_webhooks() -> None:
    """Publishes the endpoints that have a webhook due."""
    if free_tasks(WAITING_WITH_BEATS)(send_webhooks.name):
        send_all({send_webhooks.name: endpoints_due(services().webhooks)})


@app.task(name="maintenance.send_payment_events")
def send_payment_events() -> None:
    """Publishes the payment events that are due, new ones and retries."""
    if free_tasks(WAITING_WITH_BEATS)(take_in_events.name):
        ids = events_due(services().payments)
        for start in range(0, len(ids), MOST_PER_MESSAGE):
            send(take_in_events.name, ids[start : start + MOST_PER_MESSAGE])


@app.task(name="maintenance.expire")
def expire() -> None:
    """Ends the holds whose time is over, and cancels the orders that were not confirmed in time."""
    expire_holds(services().orders)
    sweeping.expire_orders(services().orders)


@app.task(name="maintenance.deal_stock")
def deal_stock_that_came() -> None:
    """Deals stock that has come to the orders that wait for it."""
    deal_stock(services().stock)


@app.task(name="maintenance.finish_loads")
def finish_stock_loads() -> None:
    """Finishes interrupted loads of stock levels."""
    finish_loads(services().stock)


@app.task(name="maintenance.number_orders")
def number_orders() -> None:
    """Gives a number to the orders that the previous release stored without one."""
    sweeping.number_orders(services().orders)


@app.task(name="maintenance.reconcile")
def reconcile() -> None:
    """Works on the current reconciliation for a moment, or starts one if it is due."""
    try:
        reconciling.go_on(services().reconciliation, _SLICE)
    except ProviderUnavailable as error:
        log.warning("reconciliation will go on", reason=str(error))


@app.task(name="maintenance.count_orders")
def count_orders() -> None:
    """Counts the orders by status for the metrics, if a count is due."""
    gauges.count_orders(services())


@app.task(name="maintenance.purge")
def purge() -> None:
    """Removes deleted orders, finished payment events and webhooks, and mail counts after their retention."""
    sweeping.purge_deleted_orders(services().orders)
    purge_events(services().payments)
    purge_deliveries(services().webhooks)
    forget_mail_counts(services().notifications)
