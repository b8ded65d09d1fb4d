"""Checks that compare orders with their stock movements, and levels with the sums of all movements.

Each check yields the findings of one kind. Stock moves in one transaction with its order, so an order at rest
can be checked even if it has other due work.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from app.orders.model import Order, quantities
from app.orders.returns import in_stock, resellable
from app.orders.shortages import NOT_TAKEN
from app.reconciliation.records import AuditContext, Case, Finding, Level, OrderRecords, Row

_NOTHING_TAKEN = (*NOT_TAKEN, "insufficient", "released")
# The clocks of two workers may differ by this much.
_SKEW = timedelta(minutes=1)


def level_negative(level: Level) -> Iterator[Finding]:
    """A level below zero."""
    if level.on_hand is not None and level.on_hand < 0:
        yield Finding({"productId": level.product_id}, "at least 0", str(level.on_hand))


def level_differs(level: Level) -> Iterator[Finding]:
    """A level of at least 0, or none, that is not the sum of the product's movements."""
    is_negative = level.on_hand is not None and level.on_hand < 0
    if not is_negative and level.on_hand != level.moved:
        found = "no level" if level.on_hand is None else str(level.on_hand)
        yield Finding({"productId": level.product_id}, f"{level.moved}, the sum of its movements", found)


def movement_orphaned(case: Case) -> Iterator[Finding]:
    """Movements without an order."""
    if case.order is None and case.records.movements:
        yield Finding({"orderId": case.records.order_id}, "an order", _listed(case.records.movements))


def movement_unexpected(case: Case) -> Iterator[Finding]:
    """Movements of an order that took no stock."""
    order, rows = case.at_rest, case.records.movements
    if order and rows and order["stock"]["status"] in _NOTHING_TAKEN:
        stock = f"none: the stock is {order['stock']['status']}"
        yield Finding({"orderId": order["id"]}, stock, _listed(rows))


def movement_doubled(case: Case) -> Iterator[Finding]:
    """Products with the same movement twice."""
    order = _with_stock(case)
    for product, found in _doubled(case.records.movements).items() if order else ():
        yield Finding({"orderId": case.records.order_id, "productId": product}, "one movement", found)


def movement_missing(case: Case) -> Iterator[Finding]:
    """Products that the order should hold and that have no movement, though they were tracked."""
    order = _with_stock(case)
    if order is None:
        return
    moved = {row.product_id for row in case.records.movements}
    for product, wanted in _to_hold(order).items():
        if wanted and product not in moved and _was_tracked(product, order, case.context):
            ids = {"orderId": order["id"], "productId": product}
            yield Finding(ids, f"holds {wanted}", "no movement")


def movement_differs(case: Case) -> Iterator[Finding]:
    """Products whose movements, none of them doubled, give another quantity than the order."""
    order = _with_stock(case)
    if order is None:
        return
    rows = case.records.movements
    expected = _to_hold(order)
    others = {*_doubled(rows), *(row.product_id for row, _ in _unfounded(order, rows))}
    for product, has in _held(rows).items():
        wanted = expected.get(product, 0)
        if product not in others and wanted != has:
            yield Finding({"orderId": order["id"], "productId": product}, f"holds {wanted}", f"holds {has}")


def return_movement_differs(case: Case) -> Iterator[Finding]:
    """Movements of returns that are not of a receipt's resellable pieces, or of more pieces."""
    order = _with_stock(case)
    if order is None:
        return
    pieces: dict[tuple[Any, ...], int] = {
        (one["id"], receipt["receipt"], some["line"]): some["quantity"]
        for one, receipt in in_stock(order)
        for some in resellable(receipt)
    }
    for row in case.records.movements:
        most = pieces.get((row.return_id, row.receipt, row.line), 0) if row.kind == "return" else row.quantity
        if row.quantity > most:
            ids = {"orderId": order["id"], "productId": row.product_id, "returnId": row.return_id}
            yield Finding(ids, f"at most {most} of line {row.line}", str(row.quantity))


def cancelled_pieces_differ(case: Case) -> Iterator[Finding]:
    """Movements of cancelled pieces that the order does not have."""
    order = _with_stock(case)
    for row, most in _unfounded(order, case.records.movements) if order else ():
        ids = {"orderId": case.records.order_id, "productId": row.product_id}
        yield Finding(
            {**ids, "cancellationId": row.cancellation_id}, f"at most {most} back", f"{row.quantity} back"
        )


def backorder_forgotten(case: Case) -> Iterator[Finding]:
    """Orders that wait for stock that has been there for a while."""
    order = case.at_rest
    if order and waited_for(case.records):
        needed = quantities(order)
        if all(case.context.spare.get(product, 0) >= quantity for product, quantity in needed.items()):
            ids = {"orderId": order["id"]}
            yield Finding(ids, "takes its stock", f"waits for {', '.join(sorted(needed))[:500]}")


def waited_for(records: OrderRecords) -> set[str]:
    """The products of an order that waits for stock."""
    order = records.order
    return set(quantities(order)) if order and order["stock"]["status"] == "backordered" else set()


def without_movement(records: OrderRecords) -> set[str]:
    """The products that the order took without a movement: untracked ones, or a fault."""
    order = records.order
    if order is None or order["stock"]["status"] != "decremented":
        return set()
    return quantities(order).keys() - {row.product_id for row in records.movements}


def _with_stock(case: Case) -> Order | None:
    """The order, if it is at rest and has taken its stock."""
    order = case.at_rest
    return order if order and order["stock"]["status"] not in _NOTHING_TAKEN else None


def _held(rows: list[Row]) -> Counter[str]:
    held = Counter[str]()
    for row in rows:
        held[row.product_id] -= row.quantity
    return held


def _to_hold(order: Order) -> dict[str, int]:
    """The quantity that the order holds of each tracked product: what it took less the restocked quantities
    of its refunds, part cancellations and returns, at least 0."""
    if order["stock"]["status"] == "restocked":
        return {}
    back = Counter[str]()
    for refund in order.get("refunds", ()):
        if refund.get("restocked"):
            for line in refund.get("products", ()):
                back[line["productId"]] += line["quantity"] if line["restock"] else 0
    for some in (some for _, receipt in in_stock(order) for some in resellable(receipt)):
        back[order["products"][some["line"] - 1]["productId"]] += some["quantity"]
    for cancellation in order.get("cancellations", ()):
        if cancellation.get("restocked"):
            for off in cancellation["products"]:
                back[order["products"][off["line"] - 1]["productId"]] += off["quantity"]
    return {product: max(0, taken - back[product]) for product, taken in quantities(order).items()}


def _was_tracked(product: str, order: Order, context: AuditContext) -> bool:
    """Whether the product was tracked when the order took its stock.

    A product has its first movement when it is first tracked. Before that it had nothing on hand, so no order
    could take it.
    """
    taken = next((event["at"] for event in order["events"] if event["type"] == "stock.decremented"), None)
    first = context.tracked_since.get(product)
    return taken is not None and first is not None and first < taken - _SKEW


def _doubled(rows: list[Row]) -> dict[str, str]:
    times = Counter(
        (row.product_id, row.kind, *((row.refund_id, *row[4:]) if row.kind != "decrement" else ()))
        for row in rows
    )
    return {product: f"{n} of kind {kind}" for (product, kind, *_), n in times.items() if n > 1}


def _unfounded(order: Order, rows: list[Row]) -> list[tuple[Row, int]]:
    """The movements of cancelled pieces that the order does not have, each with the most that it may be."""
    most = {
        (one["id"], some["line"]): some["quantity"]
        for one in order.get("cancellations", ())
        if one.get("restocked")
        for some in one["products"]
    }
    pairs = [
        (row, most.get((row.cancellation_id or "", row.line or 0), 0)) for row in rows if row.cancellation_id
    ]
    return [(row, limit) for row, limit in pairs if row.quantity > limit]


def _listed(rows: list[Row]) -> str:
    return ", ".join(f"{row.kind} {row.quantity} of {row.product_id}" for row in rows[:5])
