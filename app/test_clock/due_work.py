"""The kinds of work that come due by themselves. To add a kind, add a row."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from app.errors import DatabaseUnavailable
from app.holds.service import expire_holds
from app.notifications.announce import deliver, forget_mail_counts, overdue_notifications
from app.orders import steps
from app.orders.processing import perform
from app.orders.sweeping import due_now, expire_orders, purge_deleted_orders
from app.payments.events import events_due, purge_events, take_in
from app.stock.taking import deal_stock
from app.test_clock import TestClockServices
from app.webhooks.delivery import deliver_next, endpoints_due, purge_deliveries

log = structlog.get_logger()

_STEPS = {step.name: step for step in steps.STEPS}
# The kind of which most is due.
STEPS = "steps"


class Walk:
    """One call on its way through time. `is_late` says whether it has to end now."""

    def __init__(self, services: TestClockServices, is_late: Callable[[], bool]) -> None:
        self.services = services
        self.is_late = is_late
        # The orders whose steps it has begun, and the same with the times at which these were due.
        self.order_ids = set[str]()
        self.begun = set[tuple[str, datetime]]()


class Kind(NamedTuple):
    """A kind of due work.

    `next` gives the first time later than the given one at which such work comes due. `work` does what is due
    now, and returns how much that was. `after_steps` says whether a step of an order can make such work due.
    """

    next: Callable[[Walk, datetime], datetime | None]
    work: Callable[[Walk], int]
    after_steps: bool = False


def _next_step(walk: Walk, after: datetime) -> datetime | None:
    """A step that was never attempted is due at once."""
    times = walk.services.due_times
    return after if times.has_fresh_steps(walk.begun) else times.earliest("orders", "dueBy", after)


def _do_steps(walk: Walk) -> int:
    owed = due_now(walk.services.orders, walk.begun)
    for name, order_ids in owed.items():
        walk.order_ids.update(order_ids)
        # What the steps record for mails and webhooks is due at once, and so is found by its kind.
        perform(walk.services.orders, _STEPS[name], order_ids, steps.STEPS)
    return sum(map(len, owed.values()))


def _next_deal(walk: Walk, after: datetime) -> datetime | None:
    """Stock that came is to be dealt at once."""
    return after if after < walk.services.clock() and walk.services.stock.store.arrivals(1) else None


def _take_in_payment_events(walk: Walk) -> int:
    event_ids = events_due(walk.services.payments)
    take_in(walk.services.payments, event_ids)
    return len(event_ids)


def _deliver_notifications(walk: Walk) -> int:
    ids = overdue_notifications(walk.services.notifications)
    deliver(walk.services.notifications, ids)
    return len(ids)


def _send_webhooks(walk: Walk) -> int:
    """Makes the attempts that are due, in turn for each endpoint."""
    attempts, endpoint_ids = 0, endpoints_due(walk.services.webhooks)
    while endpoint_ids:
        left = []
        for endpoint_id in endpoint_ids:
            if walk.is_late():
                return attempts
            if _send(walk, endpoint_id):
                left.append(endpoint_id)
        attempts, endpoint_ids = attempts + len(left), left
    return attempts


def _send(walk: Walk, endpoint_id: str) -> bool:
    """Whether there was an attempt to make. A damaged endpoint stops no other."""
    try:
        return deliver_next(walk.services.webhooks, endpoint_id) is not None
    except DatabaseUnavailable:
        raise
    except Exception:
        log.exception("webhooks interrupted", endpoint=endpoint_id)
        return False


def _purge(walk: Walk) -> int:
    own = walk.services
    forget_mail_counts(own.notifications)
    return purge_deleted_orders(own.orders) + purge_events(own.payments) + purge_deliveries(own.webhooks)


def _next_purge(walk: Walk, after: datetime) -> datetime | None:
    """The hour in which something has been kept long enough. Beat purges once an hour, too."""
    own = walk.services
    kept = (
        ("orders", "deletedAt", own.orders.retention_days),
        ("payment_events", "endedAt", own.payments.retention_days),
        ("webhook_deliveries", "endedAt", own.webhooks.retention_days),
    )
    return min(
        (
            _hour_after(ended) + timedelta(days=days)
            for collection, field, days in kept
            if (ended := own.due_times.earliest(collection, field, after - timedelta(days=days)))
        ),
        default=None,
    )


def _hour_after(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _due_by(collection: str) -> Callable[[Walk, datetime], datetime | None]:
    return lambda walk, after: walk.services.due_times.earliest(collection, "dueBy", after)


# In the order in which they are done if several are due. An order is paid rather than expired.
KINDS: dict[str, Kind] = {
    "holds": Kind(
        lambda walk, after: walk.services.due_times.end_of_hold(after),
        lambda walk: expire_holds(walk.services.orders),
    ),
    STEPS: Kind(_next_step, _do_steps, after_steps=True),
    "payment events": Kind(_due_by("payment_events"), _take_in_payment_events),
    "expiry": Kind(
        lambda walk, after: walk.services.due_times.expiry(after, walk.services.orders.order_expiry),
        lambda walk: expire_orders(walk.services.orders),
    ),
    # The same work, at other times.
    "backorders": Kind(
        lambda walk, after: walk.services.due_times.end_of_backorder(after),
        lambda walk: expire_orders(walk.services.orders),
    ),
    "stock that came": Kind(_next_deal, lambda walk: deal_stock(walk.services.stock), after_steps=True),
    "notifications": Kind(_due_by("notifications"), _deliver_notifications, after_steps=True),
    "webhooks": Kind(_due_by("webhook_deliveries"), _send_webhooks, after_steps=True),
    "purges": Kind(_next_purge, _purge),
}
