"""Writes the outcome of a step by compare-and-set, and makes a failed step due again later."""

from collections.abc import Mapping, Sequence

import structlog

from app.backoff import backoff
from app.mongo.database import Transaction
from app.observability.tracing import about
from app.orders import OrderServices
from app.orders.model import Change, Order, advance

log = structlog.get_logger()

ACTOR = "system"

# The first and the longest wait, in seconds, of a step whose stock another transaction has locked. The lock
# of a dead process lasts until MongoDB ends its transaction.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0


def save(
    services: OrderServices,
    changes: Mapping[str, Sequence[Change]],
    orders: Mapping[str, Order],
    transaction: Transaction | None = None,
    actor: str = ACTOR,
    command: str | None = None,
) -> list[str]:
    """Writes the changes, which are given by order id.

    Returns the ids of orders that were not written: another process changed them first or has them locked.
    `command` is as in `advance`. Raises HistoryFull.
    """
    at = services.clock()
    pairs = [
        (orders[order_id], advance(orders[order_id], at, actor, made, command))
        for order_id, made in changes.items()
    ]
    return services.store.append_all(pairs, services.due_by(), transaction)


def try_later(services: OrderServices, step: str, orders: Sequence[Order]) -> None:
    """Makes the step of these orders due again, after a wait that grows with every attempt."""
    if orders:
        services.metrics.count("step_retries_total", step, by=len(orders))
        now = services.clock()
        services.due_work.postpone({order["id"]: now + backoff(_attempts(order)) for order in orders})


def wait_for_stock(services: OrderServices, step: str, orders: Sequence[Order]) -> None:
    """Makes the step due again soon, for orders whose stock is locked by another transaction."""
    if orders:
        log.info("stock is busy, step waits", step=step, order_ids=[order["id"] for order in orders])
        services.metrics.count("step_retries_total", step, by=len(orders))
        now, bounds = services.clock(), {"base": _FIRST_WAIT, "longest": _LONGEST_WAIT}
        due = {order["id"]: now + backoff(_attempts(order), **bounds) for order in orders}
        services.due_work.postpone(due, amid_locks=True)


def set_aside(services: OrderServices, step: str, order: Order, error: Exception) -> None:
    """Logs the error of an order's step, and makes the step due again after a wait that grows each time.

    Works for an order in any state, even a damaged one.
    """
    log.error("step failed", step=step, exc_info=error, **about(order))
    try_later(services, step, [order])


def _attempts(order: Order) -> int:
    attempts = order.get("attempts", 0)
    return attempts if isinstance(attempts, int) else 0
