"""The operations on part cancellations: create one, and read them."""

from decimal import Decimal
from typing import NamedTuple, NotRequired, TypedDict

from app.errors import InvalidInput, NotFound, NothingOpen, TooManyCancellations
from app.orders import OrderServices
from app.orders.bounds import MOST_CANCELLATIONS, MOST_CANCELLED_LINES
from app.orders.commands import Decision, Request, carry_out
from app.orders.goods import LinePieces, PartCancellation, numbered, open_pieces, require_lines
from app.orders.model import Order
from app.orders.part_cancelling import next_cancellation_id, part_cancellation
from app.orders.pieces import amount_fault, required_amount
from app.orders.reading import reads_order
from app.orders.service import get_order


class Draft(TypedDict):
    """A client's request to cancel pieces, with `amount` in major units for lines without a price."""

    products: list[LinePieces]
    reason: NotRequired[str]
    amount: NotRequired[Decimal]


class OrderCancellation(NamedTuple):
    """A part cancellation with its order. If `replayed`, an earlier request with the same key made it."""

    order: Order
    cancellation: PartCancellation
    replayed: bool = False


@reads_order
def create_cancellation(
    services: OrderServices, order_id: str, draft: Draft, request: Request
) -> OrderCancellation:
    """Cancels open pieces of the order.

    Concurrent commands together never cancel and ship more pieces than were ordered. Raises InvalidInput,
    NothingOpen, RefundTooLarge, TooManyCancellations, and as `carry_out` does.
    """

    def decide(order: Order) -> Decision:
        wanted = _valid_pieces(order, draft)
        left = open_pieces(order)
        if any(some > free for some, free in zip(wanted, left, strict=True)):
            raise NothingOpen(numbered(left))
        _require_room(order, len(draft["products"]))
        amount = required_amount(order, wanted, draft.get("amount"))
        changes = part_cancellation(order, wanted, reason=draft.get("reason"), amount=amount)
        return Decision(changes, made=next_cancellation_id(order))

    carried = carry_out(services, order_id, "create_cancellation", request, decide)
    return OrderCancellation(carried.order, _find(carried.order, carried.made), carried.replayed)


@reads_order
def get_cancellation(services: OrderServices, order_id: str, cancellation_id: str) -> OrderCancellation:
    """A part cancellation of the order. Raises NotFound."""
    order = get_order(services, order_id)
    return OrderCancellation(order, _find(order, cancellation_id))


def _valid_pieces(order: Order, draft: Draft) -> list[int]:
    """The pieces of the draft by line. Raises InvalidInput with all faults."""
    wanted = [0] * len(order["products"])
    for entry in draft["products"]:
        if entry["line"] <= len(wanted):
            wanted[entry["line"] - 1] = entry["quantity"]
    faults = amount_fault(order, wanted, draft.get("amount"))
    try:
        require_lines(order, draft["products"])
    except InvalidInput as error:
        raise InvalidInput(*error.faults, *faults) from error
    if faults:
        raise InvalidInput(*faults)
    return wanted


def _require_room(order: Order, lines: int) -> None:
    made = order.get("cancellations", [])
    if len(made) >= MOST_CANCELLATIONS:
        raise TooManyCancellations(f"An order can have at most {MOST_CANCELLATIONS} part cancellations.")
    if lines + sum(len(one["products"]) for one in made) > MOST_CANCELLED_LINES:
        raise TooManyCancellations(
            f"All part cancellations of an order can have at most {MOST_CANCELLED_LINES} lines together."
        )


def _find(order: Order, cancellation_id: str | None) -> PartCancellation:
    for one in order.get("cancellations", ()):
        if one["id"] == cancellation_id:
            return one
    raise NotFound("The part cancellation does not exist.")
