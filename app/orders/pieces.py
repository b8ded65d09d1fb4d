"""The pieces that the refunds of an order are for, and what they cost.

Every piece of a line goes back once. A refund keeps its pieces even if it fails, until it is retried.
"""

from collections.abc import Iterator, Sequence

from app.orders.model import Order
from app.orders.refunds import Refund, RefundLine
from app.orders.shares import Costs, Pieces


def costs(order: Order) -> Costs:
    """The costs of the order's pieces."""
    return Costs(order["products"], order.get("adjustments", ()))


def refunded(order: Order) -> list[list[Pieces]]:
    """The pieces of each refund of the order."""
    taken = [0] * len(order["products"])
    found: list[list[Pieces]] = []
    for refund in order.get("refunds", ()):
        own = []
        for entry in refund.get("products", ()):
            for place, quantity in _places(order, entry, taken):
                own.append(Pieces(place + 1, quantity, taken[place]))
                taken[place] += quantity
        found.append(own)
    return found


def unclaimed(order: Order, refunds: Sequence[Sequence[Pieces]]) -> list[int]:
    """The number of pieces of each line that none of these refunds is for."""
    pieces = [line["quantity"] for line in order["products"]]
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
