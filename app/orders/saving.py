"""How the outcome of a step is written: by compare-and-set, and what did not work out is due again later."""

from collections.abc import Mapping, Sequence

import structlog

from app.backoff import backoff
from app.mongo.database import Transaction
from app.observability.tracing import about
from app.orders import OrderServices
from app.orders.model import Change, Order, advance

log = structlog.get_logger()

ACTOR = "system"

# Seconds that a step waits for stock which another transaction holds: at first, and at most. A process that
# died holds it for as long as MongoDB lets a transaction live.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0


def save(
    services: OrderServices,
    changes: Mapping[str, Sequence[Change]],
    orders: Mapping[str, Order],
    transaction: Transaction | None = None,
    actor: str = ACTOR,
    command: str | None = None,
) -> list[str]:
    """Writes the changes by order id; the ids of the orders that another process changed first, or holds.

    `command` is for `advance`. Raises HistoryFull.
    """
    at = services.clock()
    pairs = [
        (orders[order_id], advance(orders[order_id], at, actor, made, command))
        for order_id, made in changes.items()
    ]
    return services.store.append_all(pairs, services.due_by(), transaction)


def try_later(services: OrderServices, step: str, orders: Sequence[Order]) -> None:
    """Makes the step due again after a wait that grows with every attempt."""
    if orders:
        services.metrics.count("step_retries_total", step, by=len(orders))
        now = services.clock()
        services.due_work.postpone({order["id"]: now + backoff(_attempts(order)) for order in orders})


def wait_for_stock(services: OrderServices, step: str, orders: Sequence[Order]) -> None:
    """Makes the step due again shortly, for orders whose stock another transaction holds now."""
    if orders:
        log.info("stock is busy, step waits", step=step, order_ids=[order["id"] for order in orders])
        services.metrics.count("step_retries_total", step, by=len(orders))
        now, bounds = services.clock(), {"base": _FIRST_WAIT, "longest": _LONGEST_WAIT}
        due = {order["id"]: now + backoff(_attempts(order), **bounds) for order in orders}
        services.due_work.postpone(due, amid_locks=True)


def set_aside(services: OrderServices, step: str, order: Order, error: Exception) -> None:
    """Logs what an order made fail, and makes its step due again after ever longer waits.

    Safe for an order in any state.
    """
    log.error("step failed", step=step, exc_info=error, **about(order))
    try_later(services, step, [order])


def _attempts(order: Order) -> int:
    attempts = order.get("attempts", 0)
    return attempts if isinstance(attempts, int) else 0
