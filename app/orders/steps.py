"""The step table: the events that start each step, and the states of an order in which the step is due.

The table has two kinds of readers. The relay looks up the steps that follow an event. Workers and the sweep
ask whether the order's state makes a step due. So a lost, doubled, late or out-of-order message changes
nothing.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from app.orders.events import PUBLIC
from app.orders.model import Order
from app.orders.refunds import Refund, is_pending, to_restock


class Step(NamedTuple):
    """One piece of background work, with the name of the Celery task that does it.

    It is due while each given axis has one of the given values, and `refund` is true for any refund.
    """

    name: str
    after: tuple[str, ...]
    status: tuple[str, ...] = ()
    payment: tuple[str, ...] = ()
    stock: tuple[str, ...] = ()
    refund: Callable[[Refund], object] | None = None

    def is_due(self, order: Order) -> bool:
        """Whether the step is due in the order's present state."""
        return (
            (not self.status or order["status"] in self.status)
            and (not self.payment or order["payment"]["status"] in self.payment)
            and (not self.stock or order["stock"]["status"] in self.stock)
            and (self.refund is None or any(map(self.refund, order.get("refunds", ()))))
        )


ANNOUNCE = "notifications.announce"

AUTHORIZE = Step("payments.authorize", after=("order.created",), status=("pending",), payment=("pending",))
DECREMENT = Step(
    "stock.decrement",
    after=("payment.authorized",),
    status=("pending",),
    payment=("authorized",),
    stock=("pending",),
)
CAPTURE = Step(
    "payments.capture",
    after=("stock.decremented",),
    status=("pending",),
    payment=("authorized",),
    stock=("decremented",),
)
VOID = Step(
    "payments.void", after=("order.cancelled",), status=("cancelled",), payment=("pending", "authorized")
)
REFUND = Step("payments.refund", after=("refund.requested", "refund.retried"), refund=is_pending)
RESTOCK = Step("stock.restock", after=("order.cancelled",), status=("cancelled",), stock=("decremented",))
RESTOCK_REFUNDED = Step("stock.restock_refunded", after=("refund.succeeded",), refund=to_restock)

STEPS = (AUTHORIZE, DECREMENT, CAPTURE, VOID, REFUND, RESTOCK, RESTOCK_REFUNDED)
NAMES = (*(step.name for step in STEPS), ANNOUNCE)

_AFTER: dict[str, tuple[str, ...]] = {
    kind: tuple(step.name for step in STEPS if kind in step.after) for step in STEPS for kind in step.after
}


def set_in_motion(event_types: Iterable[str]) -> set[str]:
    """The names of the steps that these events start, including the announcement."""
    names: set[str] = set()
    for kind in event_types:
        names.update(_AFTER.get(kind, ()))
        if kind in PUBLIC:
            names.add(ANNOUNCE)
    return names


def due(order: Order) -> list[str]:
    """The names of the order's due steps; empty if nothing is due."""
    names = [step.name for step in STEPS if step.is_due(order)]
    if order.get("announced", 0) < order["publicVersion"]:
        names.append(ANNOUNCE)
    return names
