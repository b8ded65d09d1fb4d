"""Compares orders with their stock movements, and levels with the sums of all movements."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta

from app.orders.model import Order, quantities
from app.reconciliation.kinds import Difference
from app.reconciliation.records import AuditContext, OrderRecords, Row

_NOTHING_TAKEN = ("pending", "insufficient", "released")
# The clocks of two workers may differ by this much.
_SKEW = timedelta(minutes=1)


def of_levels(levels: Mapping[str, int], sums: Mapping[str, int]) -> Iterator[Difference]:
    """Yields the differences between levels and sums of movements, both read at the same moment."""
    for product in levels.keys() | sums.keys():
        level, total, ids = levels.get(product), sums.get(product, 0), {"productId": product}
        if level is not None and level < 0:
            yield Difference("level_negative", ids, "at least 0", str(level))
        elif level != total:
            found = "no level" if level is None else str(level)
            yield Difference("level_differs", ids, f"{total}, the sum of its movements", found)


def differences(records: OrderRecords, context: AuditContext) -> Iterator[Difference]:
    """Yields the differences. Stock moves in one transaction with its order, so an order at rest can be
    checked even if it has other due work."""
    order, rows = records.order, records.movements
    ids = {"orderId": records.order_id}
    if order is None:
        if rows:
            yield Difference("movement_orphaned", ids, "an order", _listed(rows))
        return
    if not context.is_at_rest(order):
        return
    if order["stock"]["status"] in _NOTHING_TAKEN:
        if rows:
            stock = f"none: the stock is {order['stock']['status']}"
            yield Difference("movement_unexpected", ids, stock, _listed(rows), order["version"])
        return
    yield from _of_lines(order, rows, context)


def without_movement(records: OrderRecords) -> set[str]:
    """The products that the order took without a movement: untracked ones, or a fault."""
    order = records.order
    if order is None or order["stock"]["status"] != "decremented":
        return set()
    return quantities(order).keys() - {row.product_id for row in records.movements}


def _of_lines(order: Order, rows: list[Row], context: AuditContext) -> Iterator[Difference]:
    expected = _to_hold(order)
    held = Counter[str]()
    for row in rows:
        held[row.product_id] -= row.quantity
    doubled = _doubled(rows)
    for product in expected.keys() | held.keys():
        wanted, has = expected.get(product, 0), held[product]
        ids = {"orderId": order["id"], "productId": product}
        if product in doubled:
            yield Difference("movement_doubled", ids, "one movement", doubled[product], order["version"])
        elif product not in held:
            if wanted and _was_tracked(product, order, context):
                yield Difference("movement_missing", ids, f"holds {wanted}", "no movement", order["version"])
        elif wanted != has:
            yield Difference("movement_differs", ids, f"holds {wanted}", f"holds {has}", order["version"])


def _to_hold(order: Order) -> dict[str, int]:
    """The quantity that the order holds of each tracked product: its lines less the restocked quantities of
    its refunds, at least 0."""
    if order["stock"]["status"] == "restocked":
        return {}
    back = Counter[str]()
    for refund in order.get("refunds", ()):
        if refund.get("restocked"):
            for line in refund.get("products", ()):
                back[line["productId"]] += line["quantity"] if line["restock"] else 0
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
        (row.product_id, row.kind, row.refund_id if row.kind == "restock" else None) for row in rows
    )
    return {product: f"{n} of kind {kind}" for (product, kind, _), n in times.items() if n > 1}


def _listed(rows: list[Row]) -> str:
    return ", ".join(f"{row.kind} {row.quantity} of {row.product_id}" for row in rows[:5])
