"""Runs the background steps of orders: load, check that the step is still due, do it, compare-and-set.

A step that is already done does nothing. So a message may be lost, doubled, late or out of order, and a
process may die between any two lines: running the step again repairs it. Calls to the outside world carry an
idempotency key made of order and step. Stock changes in the same transaction as its order.
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

# A batch is retried at once for orders that another process changed, this many times and for this many
# seconds. The sweep does the rest.
_ROUNDS = 8
_LONGEST = 1.0


def perform(services: OrderServices, step: Step, order_ids: Sequence[str]) -> None:
    """Does the step for those of the orders for which it is due.

    If the step fails unexpectedly for one order, that order is logged and retried later, and the others
    continue. Raises DatabaseUnavailable.
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
    """Does the step and returns the ids of the orders that were not written and need another look."""
    with services.tracer.orders(step.name, due):
        return services.effects[step](list(due))
