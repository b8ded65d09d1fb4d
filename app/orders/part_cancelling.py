"""Cancels pieces of an order: what that does to its money, its stock and its status.

Customers and the shop do it by a command, and the service does it when the stock does not suffice.
"""

from collections.abc import Sequence

from app.orders.goods import live_shipments, next_id, numbered, open_pieces
from app.orders.model import Change, Order
from app.orders.pieces import PIECES_CANCELLED, cost, left, refund_of, to_pay_back
from app.orders.service import cancellation
from app.orders.states import OPEN_PAYMENT


def next_cancellation_id(order: Order) -> str:
    """The id of the next part cancellation of the order."""
    return next_id(order, "c", order.get("cancellations", ()))


def part_cancellation(
    order: Order,
    wanted: Sequence[int],
    *,
    reason: str | None = None,
    amount: int | None = None,
    ends_as: str = "requested",
) -> list[Change]:
    """The changes that cancel these pieces, given by line. All of them must be open, and at least one.

    Before the capture they lower it. Afterwards they are refunded, as far as they are not paid back, at most
    with what is left. `amount`, in minor units, is for lines without a price. If these are the last pieces of
    the order and it has no live shipment, it is cancelled for the reason `ends_as`, and all that is left goes
    back. If the others are shipped, the order is shipped or delivered from then on.
    """
    cancellation_id = next_cancellation_id(order)
    is_last = list(wanted) == open_pieces(order)
    live = live_shipments(order)
    refund: Change | None = None
    after: list[Change] = []
    if is_last and not live:
        back = left(order)
        detail = reason if ends_as == "requested" else None
        after = cancellation(order, ends_as, detail, cancellationId=cancellation_id)
    elif order["payment"]["status"] in OPEN_PAYMENT:
        back = cost(order, to_pay_back(order, wanted)) if amount is None else amount
    else:
        refund = refund_of(order, wanted, amount, reason=PIECES_CANCELLED, cancellationId=cancellation_id)
        back = refund.data["amount"] if refund else 0
    data = {"cancellationId": cancellation_id, "products": numbered(wanted), "amount": back}
    if reason:
        data["reason"] = reason
    if is_last and live:
        after.append(Change("order.shipped"))
        if all(one["status"] == "delivered" for one in live):
            after.append(Change("order.delivered"))
    return [Change("cancellation.created", data), *after, *([refund] if refund else [])]
