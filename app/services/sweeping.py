"""What beat does with orders: find what is owed and late, end what waits too long, forget the deleted."""

from collections import defaultdict
from datetime import datetime, timedelta

import structlog

from app.domain import steps
from app.domain.errors import DatabaseUnavailable
from app.domain.order import Order, advance
from app.services.ordering import cancellation
from app.services.saving import ACTOR
from app.services.shop import Shop
from app.tracing import about

log = structlog.get_logger()

BATCH = 500

# The names of steps, each with the ids of the orders it is due for.
Owed = dict[str, list[str]]
# Where a page of what is owed ends: the time by which the last order's step is due, and its id.
Place = tuple[datetime, str]


def overdue_steps(shop: Shop) -> Owed:
    """The steps that should have been done by now, to be sent again; each gets its time anew."""
    orders = shop.duties.overdue(shop.clock(), BATCH)
    owed = _owed(orders)
    for name, order_ids in owed.items():
        shop.metrics.count("steps_sent_again_total", name, by=len(order_ids))
    shop.duties.settle(order for order in orders if not steps.due(order))
    shop.duties.allow_until([order["id"] for order in orders if steps.due(order)], shop.due_by())
    return owed


def all_owed_steps(shop: Shop, after: Place | None) -> tuple[Owed, Place | None]:
    """A page of everything owed, overdue or not, and where the next page begins; None at the end.

    The relay reads it when its place in the change stream is lost.
    """
    orders = shop.duties.owing(after, BATCH)
    last = orders[-1] if len(orders) == BATCH else None
    return _owed(orders), (last["dueBy"], last["id"]) if last else None


def overdue_notifications(shop: Shop) -> list[str]:
    """The ids of notifications whose next attempt is due."""
    return shop.notifications.overdue(shop.clock(), BATCH)


def expire_orders(shop: Shop) -> int:
    """Cancels the orders that were not confirmed in time; says how many."""
    expired = 0
    while True:
        now = shop.clock()
        orders = shop.orders.pending_since_before(now - shop.settings.order_expiry, BATCH)
        ended = _expire(shop, orders, now)
        expired += ended
        if len(orders) < BATCH or not ended:
            return expired


def purge_deleted_orders(shop: Shop) -> int:
    """Removes the orders deleted longer ago than the retention, with all that tells of them; says how many.

    An order that still owes something stays until that is done.
    """
    purged = 0
    limit = shop.clock() - timedelta(days=shop.settings.retention_days)
    while order_ids := shop.orders.deleted_before(limit, BATCH):
        shop.purged.note(order_ids, shop.clock())
        shop.notifications.purge(order_ids)
        shop.webhook_deliveries.purge(order_ids)
        shop.feed.purge(order_ids)
        shop.orders.purge(order_ids)
        purged += len(order_ids)
    return purged


def redrive(shop: Shop, order_id: str) -> list[str]:
    """Makes everything that the order owes due at once; answers with the names of those steps."""
    orders = shop.orders.load([order_id])
    owed = steps.due(orders[0]) if orders else []
    if owed:
        shop.duties.make_due(order_id, shop.clock())
    return owed


def _expire(shop: Shop, orders: list[Order], now: datetime) -> int:
    """Cancels all of the orders but those that cannot be; says how many."""
    try:
        ended = [(order, advance(order, now, ACTOR, cancellation(order, "expired"))) for order in orders]
        return len(ended) - len(shop.orders.append_all(ended, shop.due_by()))
    except DatabaseUnavailable:
        raise
    except Exception:
        if len(orders) > 1:
            return sum(_expire(shop, [order], now) for order in orders)
        log.exception("order cannot be expired", **about(orders[0]))
        return 0


def _owed(orders: list[Order]) -> Owed:
    owed: Owed = defaultdict(list)
    for order in orders:
        for name in steps.due(order):
            owed[name].append(order["id"])
    return owed
