"""The background steps of an order: load, see whether the step is still due, do its effect, compare-and-set.

A step done already does nothing, so a message may be lost, doubled, late or out of order, and a process may
die between any two lines: doing the step again repairs it. Effects on the outside world carry an idempotency
key made of order and step; stock moves in the same transaction as the order that takes it.
"""

from collections.abc import Callable, Sequence

import structlog

from app.domain.errors import DatabaseUnavailable
from app.domain.order import Order
from app.domain.steps import (
    AUTHORIZE,
    CAPTURE,
    DECREMENT,
    REFUND,
    RESTOCK,
    RESTOCK_REFUNDED,
    VOID,
    Step,
)
from app.services import payment_steps, stock_steps
from app.services.saving import try_later
from app.services.shop import Shop
from app.tracing import about

log = structlog.get_logger()

# How often a batch is taken up again at once for the orders that somebody else changed meanwhile. What is
# left after that waits for the sweep.
_ROUNDS = 8


def perform(shop: Shop, step: Step, order_ids: Sequence[str]) -> None:
    """Does the step for those of the orders that it is due for.

    An order that makes the step fail by a fault of ours is set aside, logged and tried again later: it
    spoils nothing for the others. Raises DatabaseUnavailable.
    """
    left = list(order_ids)
    for _ in range(_ROUNDS):
        due = [order for order in shop.orders.load(left) if step.is_due(order)]
        if not due:
            return
        with shop.tracer.orders(step.name, due):
            left = _attempt(shop, step, due)
    if left:
        log.warning("step left to the sweep", step=step.name, order_ids=left)


def _attempt(shop: Shop, step: Step, due: list[Order]) -> list[str]:
    """The ids of the orders whose state had moved on, to be looked at again."""
    try:
        return _EFFECTS[step](shop, due)
    except DatabaseUnavailable:
        raise
    except Exception:
        if len(due) > 1:
            return [moved for order in due for moved in _attempt(shop, step, [order])]
        log.exception("step failed", step=step.name, **about(due[0]))
        try_later(shop, step, due)
        return []


_EFFECTS: dict[Step, Callable[[Shop, list[Order]], list[str]]] = {
    AUTHORIZE: payment_steps.authorize,
    DECREMENT: stock_steps.decrement,
    CAPTURE: payment_steps.capture,
    VOID: payment_steps.void,
    REFUND: payment_steps.refund,
    RESTOCK: stock_steps.restock,
    RESTOCK_REFUNDED: stock_steps.restock_refunded,
}
