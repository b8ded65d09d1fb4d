"""The pieces that the customer does not pay for, and what they cost.

A line pays for each of its pieces once. The first claims on its pieces are those of the cancellations that
lower the capture, in their order. The refunds by lines follow in theirs. A refund keeps its pieces even if it
fails, until it is retried.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from app.errors import Fault, RefundTooLarge
from app.money import to_minor
from app.orders.goods import PartCancellation, cancelled, numbered
from app.orders.model import Change, Order, refundable
from app.orders.refunds import Refund, RefundLine, next_id
from app.orders.shares import Costs, Pieces
from app.orders.states import OPEN_PAYMENT

# The reason of a refund of pieces that were cancelled after the capture was asked for.
PIECES_CANCELLED = "Pieces of the order were cancelled."


def costs(order: Order) -> Costs:
    """The costs of the order's pieces."""
    return Costs(order["products"], order.get("adjustments", ()))


def lowering(order: Order) -> list[PartCancellation]:
    """The cancellations that lower the amount to capture, oldest first."""
    return [one for one in order.get("cancellations", ()) if "lowers" in one]


def lowered(order: Order) -> int:
    """What cancellations take off the amount to capture, in minor units."""
    return sum(one["amount"] for one in lowering(order))


def left(order: Order) -> int:
    """The amount that can still be taken off or given back, in minor units."""
    is_open = order["payment"]["status"] in OPEN_PAYMENT
    return order["totalAmount"] - lowered(order) if is_open else refundable(order)


def refunded(order: Order) -> list[list[Pieces]]:
    """The pieces of each refund of the order."""
    taken = never_charged(order)
    found: list[list[Pieces]] = []
    for refund in order.get("refunds", ()):
        own = []
        for entry in refund.get("products", ()):
            for place, quantity in _places(order, entry, taken):
                own.append(Pieces(place + 1, quantity, taken[place]))
                taken[place] += quantity
        found.append(own)
    return found


def never_charged(order: Order) -> list[int]:
    """The pieces of each line that were cancelled before the capture was asked for."""
    return cancelled({**order, "cancellations": lowering(order)})


def unclaimed(order: Order, refunds: Sequence[Sequence[Pieces]]) -> list[int]:
    """The number of pieces of each line that the customer pays for, and that none of these refunds is for."""
    charged = zip(order["products"], never_charged(order), strict=True)
    pieces = [line["quantity"] - free for line, free in charged]
    for some in (some for own in refunds for some in own):
        pieces[some.line - 1] = max(0, pieces[some.line - 1] - some.quantity)
    return pieces


def is_by_lines(refund: Refund) -> bool:
    """Whether the refund is for certain pieces, or for the shipping."""
    return "products" in refund or "shipping" in refund


def breakdowns(order: Order) -> list[dict[str, int] | None]:
    """The amount of each refund of the order by kind. None for a refund that is not by lines."""
    whole = costs(order)
    return [
        whole.breakdown(own, shipping="shipping" in refund, amount=refund["amount"])
        if is_by_lines(refund)
        else None
        for refund, own in zip(order.get("refunds", ()), refunded(order), strict=True)
    ]


def _places(order: Order, entry: RefundLine, taken: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The positions of the lines of an entry, each with its number of pieces.

    An entry of an earlier release has no `line`. Its pieces are the first ones that are left of its product.
    """
    if "line" in entry:
        yield entry["line"] - 1, entry["quantity"]
        return
    product, missing = entry["productId"], entry["quantity"]
    places = [place for place, line in enumerate(order["products"]) if line["productId"] == product]
    for place in places:
        is_last = place == places[-1]
        some = (
            missing if is_last else min(missing, max(0, order["products"][place]["quantity"] - taken[place]))
        )
        if some:
            yield place, some
            missing -= some


def shares(order: Order) -> list[int]:
    """For each refund of the order, the cost of its pieces and of the shipping that it returns."""
    whole = costs(order)
    return [
        sum(whole.breakdown(own, shipping="shipping" in refund).values())
        for refund, own in zip(order.get("refunds", ()), refunded(order), strict=True)
    ]


def to_pay_back(order: Order, wanted: Sequence[int]) -> list[Pieces]:
    """Those of these pieces, given by line, for which the customer pays and which no refund is for."""
    refunds = refunded(order)
    free = unclaimed(order, refunds)
    before = [line["quantity"] - some for line, some in zip(order["products"], free, strict=True)]
    return [
        Pieces(number, min(some, here), claimed)
        for number, (some, here, claimed) in enumerate(zip(wanted, free, before, strict=True), 1)
        if min(some, here) > 0
    ]


def cost(order: Order, pieces: Sequence[Pieces]) -> int:
    """What these pieces cost, in minor units."""
    return sum(costs(order).breakdown(pieces, shipping=False).values())


def requested(order: Order, amount: int, ahead: int = 0, **data: Any) -> Change:
    """The request of a refund of the amount. `ahead` is as in `next_id`."""
    refund_id = next_id(order["id"], order.get("refunds", ()), ahead)
    return Change("refund.requested", {"refundId": refund_id, "amount": amount, **data})


def refund_of(
    order: Order, wanted: Sequence[int], amount: int | None = None, ahead: int = 0, **data: Any
) -> Change | None:
    """The request of a refund of these pieces, given by line; None if nothing has to be given back.

    It is for those of them that are not paid back, and for what they cost, at most what is left of the
    capture. `amount` is for pieces without a price. `data` are further fields, such as `returnId`.
    """
    pieces = to_pay_back(order, wanted)
    share = cost(order, pieces) if amount is None else amount
    back = min(share, refundable(order))
    if not pieces or back <= 0:
        return None
    lines: list[RefundLine] = [
        {
            "line": some.line,
            "productId": order["products"][some.line - 1]["productId"],
            "quantity": some.quantity,
            "restock": False,
        }
        for some in pieces
    ]
    # A retry computes the amount anew, unless less was left than the pieces cost.
    computed = {"computed": True} if amount is None and back == share else {}
    return requested(order, back, ahead, products=lines, **computed, **data)


def amount_fault(order: Order, wanted: Sequence[int], amount: Decimal | None) -> list[Fault]:
    """The fault of the `amount` of a request for these pieces, given by line.

    It is required if one of the lines has no price, and not allowed otherwise.
    """
    unpriced = [
        some["line"] for some in numbered(wanted) if "unitPrice" not in order["products"][some["line"] - 1]
    ]
    if unpriced and amount is None:
        return [Fault("/amount", f"is required because line {unpriced[0]} has no unitPrice")]
    if amount is not None and not unpriced:
        return [Fault("/amount", "must not be given, because all of these lines have a unitPrice")]
    try:
        _minor(order, amount)
    except ValueError as error:
        return [Fault("/amount", str(error))]
    return []


def required_amount(order: Order, wanted: Sequence[int], amount: Decimal | None) -> int | None:
    """The valid `amount` of a request for these pieces in minor units. Raises RefundTooLarge if it is more
    than what is left."""
    minor = _minor(order, amount)
    most = left(order) if to_pay_back(order, wanted) else 0
    if minor is not None and minor > most:
        raise RefundTooLarge(most, order["currency"])
    return minor


def _minor(order: Order, amount: Decimal | None) -> int | None:
    return None if amount is None else to_minor(amount, order["currency"])
