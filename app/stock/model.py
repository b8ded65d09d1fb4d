"""Allocates stock when several orders want the same products: each order gets all of its lines or none."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, NotRequired, TypedDict

from app.orders.model import Order, quantities
from app.orders.shortages import PARTIAL

MOST_ON_HAND = 1_000_000_000
# The kinds of movements.
KINDS = ("decrement", "restock", "return", "adjustment")


class Level(TypedDict):
    """The stock level of a product. `onHand` is never negative, and is the sum of the product's movements."""

    productId: str
    onHand: int
    version: int
    updatedAt: datetime


class HeldLevel(Level):
    """A level, with the quantity that orders took off it and are not confirmed with yet."""

    held: int


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


class Supply(NamedTuple):
    """The quantity on hand of tracked products, and those of them whose stock has come and is not dealt."""

    on_hand: dict[str, int]
    undealt: set[str]


class Arrival(NamedTuple):
    """Stock of a product that has come and is not dealt to the waiting orders yet.

    `came` and `waited` change whenever stock comes and whenever an order begins to wait. `tracked_at` is the
    time from which the product is tracked, if an order may wait for it since before.
    """

    product_id: str
    came: Any
    waited: Any
    tracked_at: datetime | None


class Allocation(NamedTuple):
    """`taken` has the quantities of each order that gets its lines. `short` has the shortages of the others,
    and of the orders whose lines are cut to what is there. `left` is what is on hand then."""

    taken: dict[str, dict[str, int]]
    short: dict[str, list[dict[str, Any]]]
    left: dict[str, int]


def allocate(orders: Sequence[Order], on_hand: Mapping[str, int], *, strict: bool) -> Allocation:
    """Allocates the stock on hand to the orders, the earliest order first.

    A product that is missing in `on_hand` never runs out, or is always out of stock if `strict`.
    """
    left = dict(on_hand)
    allocation = Allocation({}, {}, left)
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
            if order.get("onShortage") != PARTIAL:
                continue
            needed = {product: min(quantity, left.get(product, 0)) for product, quantity in needed.items()}
            if not _keeps_a_piece(order, shortages):
                continue
            needed = {product: quantity for product, quantity in needed.items() if quantity}
        for product, quantity in needed.items():
            left[product] -= quantity
        allocation.taken[order["id"]] = needed
    return allocation


def _keeps_a_piece(order: Order, shortages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether something is left of the order once its lines are cut."""
    none_left = {short["productId"] for short in shortages if not short["available"]}
    return bool(quantities(order).keys() - none_left)


def totals(rows: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum per product, sorted, so that all transactions lock products in nearly the same order."""
    summed: dict[str, int] = {}
    for row in rows:
        for product, quantity in row.items():
            summed[product] = summed.get(product, 0) + quantity
    return dict(sorted(summed.items()))
