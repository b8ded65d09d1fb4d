"""The scheduled work on orders: send overdue steps again, cancel expired orders, purge deleted orders."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from app.apart import apart
from app.observability.tracing import about
from app.orders import OrderServices, steps
from app.orders.due_store import PageEnd
from app.orders.model import Change, Order, advance
from app.orders.saving import ACTOR, set_aside
from app.orders.service import cancellation, out_of_stock
from app.orders.shortages import OUT_OF_STOCK

log = structlog.get_logger()

BATCH = 500
# Longer than the clocks of two processes differ, and longer than the leeway for expired quotes.
QUOTE_MARGIN = timedelta(days=1)
# The most orders that one sweep reads to find some whose queues are free.
MOST_SWEPT = 20_000

# The ids of the orders for which each step is due, by the step's name.
Owed = dict[str, list[str]]


def send_overdue(
    services: OrderServices, is_free: Callable[[str], bool], send: Callable[[Owed], None]
) -> None:
    """Sends overdue steps again if their queue is free, up to one batch of each step.

    An order gets a new deadline once all of its due steps are sent. Otherwise it keeps its old one.
    """
    now, after, sent = services.clock(), None, defaultdict[str, int](int)
    for _ in range(MOST_SWEPT // BATCH):
        orders = services.due_work.overdue(now, BATCH, after)
        due = _due(services, orders)
        going = {
            order["id"]: [name for name in names if is_free(name) and sent[name] < BATCH]
            for order, names in due
        }
        owed = _by_step(going)
        if owed:
            send(owed)
        for name, order_ids in owed.items():
            sent[name] += len(order_ids)
            services.metrics.count("steps_sent_again_total", name, by=len(order_ids))
        services.due_work.clear(order for order, names in due if not names)
        services.due_work.allow_until(
            {order["id"]: order["dueBy"] for order, names in due if names and going[order["id"]] == names},
            services.due_by(),
        )
        if len(orders) < BATCH or not any(
            is_free(step.name) and sent[step.name] < BATCH for step in steps.STEPS
        ):
            return
        after = _end_of_page(orders[-1])


def all_owed_steps(services: OrderServices, after: PageEnd | None) -> tuple[Owed, PageEnd | None]:
    """One page of all due steps, overdue or not, and the end of that page (None after the last page).

    The relay reads all pages when it has lost its resume token for the change stream.
    """
    orders = services.due_work.owing(after, BATCH)
    owed = _by_step({order["id"]: names for order, names in _due(services, orders)})
    return owed, _end_of_page(orders[-1]) if len(orders) == BATCH else None


def due_now(services: OrderServices, begun: set[tuple[str, datetime]]) -> Owed:
    """The steps that are overdue or were never attempted, of all orders.

    An order whose id and `dueBy` are in `begun` is left out; those of the others are added.
    """
    now, after, more = services.clock(), None, True
    found = list[Order]()
    while more:
        orders = services.due_work.owing(after, BATCH)
        found += [
            order
            for order in orders
            if (order["dueBy"] <= now or order.get("attempts") == 0)
            and (order["id"], order["dueBy"]) not in begun
        ]
        more = len(orders) == BATCH
        after = _end_of_page(orders[-1]) if more else None
    begun |= {(order["id"], order["dueBy"]) for order in found}
    due = _due(services, found)
    services.due_work.clear(order for order, names in due if not names)
    return _by_step({order["id"]: names for order, names in due})


def expire_orders(services: OrderServices) -> int:
    """Cancels the orders that were not confirmed in time, and returns their number.

    A held order does not expire. From its last release on it has its whole time again. A backorder ends if it
    has no stock at its `backorderUntil`, and has its whole time from the moment at which it gets its stock.
    """
    return _all_expired(
        services, lambda now, kept: services.store.backordered_until(now, BATCH, kept), backorder_end
    ) + _all_expired(
        services,
        lambda now, kept: services.store.pending_since_before(now - services.order_expiry, BATCH, kept),
        lambda order: cancellation(order, "expired"),
    )


def backorder_end(order: Order) -> list[Change]:
    """The changes that cancel an order whose time to wait for stock is over."""
    if order["stock"]["status"] == "pending":
        return cancellation(order, OUT_OF_STOCK)
    return out_of_stock(order, order["stock"]["shortages"])


def _all_expired(
    services: OrderServices,
    find: Callable[[datetime, Sequence[str]], list[Order]],
    end: Callable[[Order], list[Change]],
) -> int:
    """Ends the orders that `find` finds, given the time and the ids of those that cannot be ended now."""
    expired, kept = 0, list[str]()
    while True:
        now = services.clock()
        orders = find(now, kept)
        ended = set(apart(orders, partial(_expire, services, now, end), _cannot_expire))
        expired += len(ended)
        kept += [order["id"] for order in orders if order["id"] not in ended]
        if len(orders) < BATCH:
            return expired


def purge_deleted_orders(services: OrderServices) -> int:
    """Purges orders whose retention time after the deletion is over. Returns their number.

    An order with due steps stays until these are done. An order that used a quote stays until the quote has
    expired for certain, so that no other order can use it.
    """
    purged, now = 0, services.clock()
    limit = now - timedelta(days=services.retention_days)
    kept: list[str] = []

    def keep(order_id: str, error: Exception) -> None:
        log.error("order cannot be purged", order_id=order_id, exc_info=error)
        kept.append(order_id)

    while order_ids := services.store.deleted_before(limit, BATCH, kept, quotes_until=now - QUOTE_MARGIN):
        purged += sum(apart(order_ids, partial(_purge, services), keep))
    return purged


def number_orders(services: OrderServices) -> int:
    """Gives a number to the orders that the previous release stored without one. Returns how many it had."""
    numbered = 0
    while found := services.search_keys.number(BATCH):
        numbered += found
        if found < BATCH:
            break
    return numbered


def index_emails(services: OrderServices, progress: Callable[[int, int], None]) -> int:
    """Corrects the keys by which orders are found by email, with the present secret. Returns how many were
    wrong. It may be cut off anywhere and run again."""
    total, done, corrected, after = services.search_keys.count(), 0, 0, None
    while True:
        after, wrong = services.search_keys.index_emails(after, BATCH)
        if after is None:
            return corrected
        done, corrected = done + BATCH, corrected + wrong
        progress(min(done, total), total)


def redrive(services: OrderServices, order_id: str) -> list[str]:
    """Makes the order's due steps overdue at once, and returns their names."""
    orders = services.store.load([order_id])
    owed = steps.due(orders[0]) if orders else []
    if owed:
        services.due_work.make_due(order_id, services.clock())
    return owed


def _due(services: OrderServices, orders: Sequence[Order]) -> list[tuple[Order, list[str]]]:
    """The orders, each with the names of its due steps. A damaged order is logged and postponed."""
    return apart(
        orders,
        lambda batch: [(order, steps.due(order)) for order in batch],
        partial(set_aside, services, "maintenance.sweep"),
    )


def _by_step(owing: Mapping[str, Sequence[str]]) -> Owed:
    owed: Owed = defaultdict(list)
    for order_id, names in owing.items():
        for name in names:
            owed[name].append(order_id)
    return dict(owed)


def _end_of_page(order: Order) -> PageEnd:
    return order["dueBy"], order["id"]


def _expire(
    services: OrderServices, now: datetime, end: Callable[[Order], list[Change]], orders: Sequence[Order]
) -> list[str]:
    """Cancels the orders, and returns their ids, without those that another process changed first."""
    ended = [(order, advance(order, now, ACTOR, end(order))) for order in orders]
    lost = set(services.store.append_all(ended, services.due_by()))
    return [order["id"] for order in orders if order["id"] not in lost]


def _cannot_expire(order: Order, error: Exception) -> None:
    log.error("order cannot be expired", exc_info=error, **about(order))


def _purge(services: OrderServices, order_ids: Sequence[str]) -> list[int]:
    services.purged.note(order_ids, services.clock())
    for forget in services.forget:
        forget(order_ids)
    services.store.purge(order_ids)
    return [len(order_ids)]
