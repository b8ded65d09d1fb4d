"""The background steps of an order: load, see whether the step is still due, do its effect, compare-and-set.

A step done already does nothing, so a message may be lost, doubled, late or out of order, and a process may
die between any two lines: doing the step again repairs it. Effects on the outside world carry an idempotency
key made of order and step; stock moves in the same transaction as the order that takes it.
"""

from collections.abc import Sequence
from functools import partial
from time import monotonic

import structlog

from app.apart import apart
from app.orders import OrderServices
from app.orders.model import Order
from app.orders.saving import set_aside
from app.orders.steps import Step

log = structlog.get_logger()

# How often, and for how many seconds, a batch is taken up again at once for the orders that another process
# changed meanwhile. What is left after that waits for the sweep.
_ROUNDS = 8
_LONGEST = 1.0


def perform(services: OrderServices, step: Step, order_ids: Sequence[str]) -> None:
    """Does the step for the orders that it is due for.

    An order that makes the step fail by a fault of ours is set aside, logged and tried again later: it
    spoils nothing for the others. Raises DatabaseUnavailable.
    """
    left, until = list(order_ids), monotonic() + _LONGEST
    give_up = partial(set_aside, services, step.name)
    for _ in range(_ROUNDS):
        due = apart(services.store.load(left), lambda orders: filter(step.is_due, orders), give_up)
        left = apart(due, partial(_do, services, step), give_up)
        if not left:
            return
        if monotonic() > until:
            break
    log.warning("step left to the sweep", step=step.name, order_ids=left)


def _do(services: OrderServices, step: Step, due: Sequence[Order]) -> list[str]:
    """The ids of the orders that are not written, to be looked at again."""
    with services.tracer.orders(step.name, due):
        return services.effects[step](list(due))
