"""Allocates stock when several orders want the same products: each order gets all of its lines or none."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, NotRequired, TypedDict

from app.orders.model import Order, quantities

MOST_ON_HAND = 1_000_000_000
# The kinds of movements.
KINDS = ("decrement", "restock", "return", "adjustment")


class Level(TypedDict):
    """The stock level of a product. `onHand` is never negative, and is the sum of the product's movements."""

    productId: str
    onHand: int
    version: int
    updatedAt: datetime


class Movement(TypedDict):
    """One row of the ledger. `kind` is one of KINDS; `quantity` is signed.

    Pieces of a part cancellation or of a return come back by line.
    """

    id: str
    productId: str
    quantity: int
    kind: str
    at: datetime
    orderId: NotRequired[str]
    refundId: NotRequired[str]
    line: NotRequired[int]
    cancellationId: NotRequired[str]
    returnId: NotRequired[str]
    receipt: NotRequired[int]
    reason: NotRequired[str]


class Allocation(NamedTuple):
    """`taken` has the quantities of each order that gets its lines. `short` has the shortages of the
    others."""

    taken: dict[str, dict[str, int]]
    short: dict[str, list[dict[str, Any]]]


def allocate(orders: Sequence[Order], on_hand: Mapping[str, int], *, strict: bool) -> Allocation:
    """Allocates the stock on hand to the orders, the earliest order first.

    A product that is missing in `on_hand` never runs out, or is always out of stock if `strict`.
    """
    left = dict(on_hand)
    allocation = Allocation({}, {})
    for order in sorted(orders, key=lambda order: order["id"]):
        needed = quantities(order)
        if not strict:
            needed = {product: quantity for product, quantity in needed.items() if product in left}
        shortages = [
            {"productId": product, "requested": quantity, "available": left.get(product, 0)}
            for product, quantity in needed.items()
            if quantity > left.get(product, 0)
        ]
        if shortages:
            allocation.short[order["id"]] = shortages
            continue
        for product, quantity in needed.items():
            left[product] -= quantity
        allocation.taken[order["id"]] = needed
    return allocation


def totals(rows: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum per product, sorted, so that all transactions lock products in nearly the same order."""
    summed: dict[str, int] = {}
    for row in rows:
        for product, quantity in row.items():
            summed[product] = summed.get(product, 0) + quantity
    return dict(sorted(summed.items()))
