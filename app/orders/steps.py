"""The step table: the events that start each step, and the states of an order in which the step is due.

The table has two kinds of readers. The relay looks up the steps that follow an event. Workers and the sweep
ask whether the order's state makes a step due. So a lost, doubled, late or out-of-order message changes
nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from app.orders.cancellations import holds_stock
from app.orders.events import EVENTS, PUBLIC
from app.orders.holds import blocking
from app.orders.model import Order, quantities
from app.orders.refunds import Refund, is_pending, to_restock
from app.orders.returns import unstocked
from app.orders.shortages import NOT_TAKEN


class Step(NamedTuple):
    """One piece of background work, with the name of the Celery task that does it.

    It is due while each given axis has one of the given values, `refund` is true for any refund, and `order`
    is true for the order. A step that `joins` is written together with the outcome of the step before it.
    """

    name: str
    after: tuple[str, ...]
    status: tuple[str, ...] = ()
    payment: tuple[str, ...] = ()
    stock: tuple[str, ...] = ()
    refund: Callable[[Refund], object] | None = None
    order: Callable[[Order], object] | None = None
    joins: bool = False

    def is_due(self, order: Order) -> bool:
        """Whether the step is due in the order's present state."""
        return (
            (not self.status or order["status"] in self.status)
            and (not self.payment or order["payment"]["status"] in self.payment)
            and (not self.stock or order["stock"]["status"] in self.stock)
            and (self.refund is None or any(map(self.refund, order.get("refunds", ()))))
            and (self.order is None or bool(self.order(order)))
        )


def _has_news(order: Order) -> bool:
    return order.get("announced", 0) < order["publicVersion"]


def _is_held(order: Order) -> bool:
    return bool(blocking(order, "capture"))


def _is_free(order: Order) -> bool:
    return not _is_held(order)


def _owes_pieces(order: Order) -> bool:
    """Whether pieces of part cancellations have to go back into the stock."""
    return any(map(holds_stock, order.get("cancellations", ())))


def _may_try_stock(order: Order) -> bool:
    """Whether the order takes its stock first and has not tried to, or needs less than at its last try."""
    if "stockFirst" not in order:
        return False
    stock, needed = order["stock"], quantities(order)
    return stock["status"] == "pending" or any(
        needed.get(short["productId"], 0) != short["requested"] for short in stock["shortages"]
    )


def _may_be_paid(order: Order) -> bool:
    return "stockFirst" not in order or order["stock"]["status"] == "decremented"


# For orders that take their stock before the payment.
DECREMENT_FIRST = Step(
    "stock.decrement_first",
    after=("order.created", "cancellation.created"),
    status=("pending",),
    payment=("pending",),
    stock=NOT_TAKEN,
    order=_may_try_stock,
)
AUTHORIZE = Step(
    "payments.authorize",
    after=("order.created", "stock.decremented"),
    status=("pending",),
    payment=("pending",),
    order=_may_be_paid,
)
DECREMENT = Step(
    "stock.decrement",
    after=("payment.authorized",),
    status=("pending",),
    payment=("authorized",),
    stock=("pending",),
    joins=True,
)
CAPTURE = Step(
    "payments.capture",
    after=("stock.decremented", "payment.authorized", "hold.released", "hold.expired"),
    status=("pending",),
    payment=("authorized",),
    stock=("decremented",),
    order=_is_free,
)
# An order in this state would be captured but for its holds.
HELD_CAPTURE = CAPTURE._replace(after=(), order=_is_held)
VOID = Step(
    "payments.void", after=("order.cancelled",), status=("cancelled",), payment=("pending", "authorized")
)
REFUND = Step("payments.refund", after=("refund.requested", "refund.retried"), refund=is_pending)
RESTOCK_CANCELLED = Step("stock.restock_cancelled", after=("cancellation.created",), order=_owes_pieces)
# The cancelled pieces go back first, by line. This puts back the rest.
RESTOCK = Step(
    "stock.restock",
    after=("order.cancelled", "cancellation.restocked"),
    status=("cancelled",),
    stock=("decremented",),
    order=lambda order: not _owes_pieces(order),
)
RESTOCK_REFUNDED = Step("stock.restock_refunded", after=("refund.succeeded",), refund=to_restock)
RESTOCK_RETURNED = Step("stock.restock_returned", after=("return.received",), order=unstocked)
ANNOUNCE = Step(
    "notifications.announce", after=tuple(kind for kind in EVENTS if kind in PUBLIC), order=_has_news
)

# In the order in which a worker takes an order through them.
STEPS = (
    DECREMENT_FIRST,
    AUTHORIZE,
    DECREMENT,
    CAPTURE,
    VOID,
    REFUND,
    RESTOCK_CANCELLED,
    RESTOCK,
    RESTOCK_REFUNDED,
    RESTOCK_RETURNED,
    ANNOUNCE,
)

# The first steps of new orders. Whatever does one of them announces the order before.
FIRST = (AUTHORIZE, DECREMENT_FIRST)

_NAMED = {step.name: step for step in STEPS}
_AFTER: dict[str, tuple[str, ...]] = {
    kind: tuple(step.name for step in STEPS if kind in step.after) for step in STEPS for kind in step.after
}


def set_in_motion(event_types: Iterable[str]) -> set[str]:
    """The names of the steps that these events can start."""
    return {name for kind in event_types for name in _AFTER.get(kind, ())}


def started(event_types: Iterable[str], order: Order) -> set[str]:
    """The names of the steps that these last events of the order start."""
    return {name for name in set_in_motion(event_types) if _NAMED[name].is_due(order)}


def to_send(event_types: Sequence[str], *, stock_first: bool = False) -> set[str]:
    """The names of the steps for which the relay sends messages after these events.

    The worker that does the first step of a new order announces it, or sends the message for that.
    `stock_first` says whether a new order takes its stock before the payment. Of other changes the relay
    knows only the events. So it may send for a step that is not due.
    """
    if "order.created" in event_types:
        return {(DECREMENT_FIRST if stock_first else AUTHORIZE).name}
    return set_in_motion(event_types)


def due(order: Order) -> list[str]:
    """The names of the order's due steps; empty if nothing is due."""
    return [step.name for step in STEPS if step.is_due(order)]
