"""The background steps of an order: load, see whether the step is still due, do its effect, compare-and-set.

A step done already does nothing, so a message may be lost, doubled, late or out of order, and a process may
die between any two lines: doing the step again repairs it. Effects on the outside world carry an idempotency
key made of order and step; stock moves in the same transaction as the order that takes it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

import structlog

from app.apart import apart
from app.orders.model import Order
from app.orders.saving import set_aside
from app.orders.steps import AUTHORIZE, CAPTURE, DECREMENT, REFUND, RESTOCK, RESTOCK_REFUNDED, VOID, Step
from app.payments import steps as payment_steps
from app.shop import Shop
from app.stock import steps as stock_steps

log = structlog.get_logger()

# How often, and for how many seconds, a batch is taken up again at once for the orders that another process
# changed meanwhile. What is left after that waits for the sweep.
_ROUNDS = 8
_LONGEST = 1.0


def perform(shop: Shop, step: Step, order_ids: Sequence[str]) -> None:
    """Does the step for the orders that it is due for.

    An order that makes the step fail by a fault of ours is set aside, logged and tried again later: it
    spoils nothing for the others. Raises DatabaseUnavailable.
    """
    left, until = list(order_ids), monotonic() + _LONGEST
    give_up = partial(set_aside, shop, step.name)
    for _ in range(_ROUNDS):
        due = apart(shop.orders.load(left), lambda orders: filter(step.is_due, orders), give_up)
        left = apart(due, partial(_do, shop, step), give_up)
        if not left:
            return
        if monotonic() > until:
            break
    log.warning("step left to the sweep", step=step.name, order_ids=left)


def _do(shop: Shop, step: Step, due: Sequence[Order]) -> list[str]:
    """The ids of the orders that are not written, to be looked at again."""
    with shop.tracer.orders(step.name, due):
        return _EFFECTS[step](shop, list(due))


_EFFECTS: dict[Step, Callable[[Shop, list[Order]], list[str]]] = {
    AUTHORIZE: payment_steps.authorize,
    DECREMENT: stock_steps.decrement,
    CAPTURE: payment_steps.capture,
    VOID: payment_steps.void,
    REFUND: payment_steps.refund,
    RESTOCK: stock_steps.restock,
    RESTOCK_REFUNDED: stock_steps.restock_refunded,
}
