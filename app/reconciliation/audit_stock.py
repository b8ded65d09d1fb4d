"""Whether an order holds what its movements say, and a level is what all movements of its product come to."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta

from app.orders.model import Order, quantities
from app.reconciliation.kinds import Difference
from app.reconciliation.records import Dossier, Look, Row

_NOTHING_TAKEN = ("pending", "insufficient", "released")
# By how much the clocks of two workers may differ.
_SKEW = timedelta(minutes=1)


def of_levels(levels: Mapping[str, int], sums: Mapping[str, int]) -> Iterator[Difference]:
    """What does not agree between levels and the sums of movements, both of the same moment."""
    for product in levels.keys() | sums.keys():
        level, total, ids = levels.get(product), sums.get(product, 0), {"productId": product}
        if level is not None and level < 0:
            yield Difference("level_negative", ids, "at least 0", str(level))
        elif level != total:
            found = "no level" if level is None else str(level)
            yield Difference("level_differs", ids, f"{total}, the sum of its movements", found)


def differences(dossier: Dossier, look: Look) -> Iterator[Difference]:
    """What does not agree. Stock moves in one transaction with its order, so one that has not just changed
    can be judged whatever it still owes."""
    order, rows = dossier.order, dossier.movements
    ids = {"orderId": dossier.order_id}
    if order is None:
        if rows:
            yield Difference("movement_orphaned", ids, "an order", _told(rows))
        return
    if not look.is_at_rest(order):
        return
    if order["stock"]["status"] in _NOTHING_TAKEN:
        if rows:
            stock = f"none: the stock is {order['stock']['status']}"
            yield Difference("movement_unexpected", ids, stock, _told(rows), order["version"])
        return
    yield from _of_lines(order, rows, look)


def untouched(dossier: Dossier) -> set[str]:
    """The products that the order took without a movement, since they are not tracked, or by a fault."""
    order = dossier.order
    if order is None or order["stock"]["status"] != "decremented":
        return set()
    return quantities(order).keys() - {row.product_id for row in dossier.movements}


def _of_lines(order: Order, rows: list[Row], look: Look) -> Iterator[Difference]:
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
            if wanted and _was_tracked(product, order, look):
                yield Difference("movement_missing", ids, f"holds {wanted}", "no movement", order["version"])
        elif wanted != has:
            yield Difference("movement_differs", ids, f"holds {wanted}", f"holds {has}", order["version"])


def _to_hold(order: Order) -> dict[str, int]:
    """What the order holds of each product, if that was tracked when it took it: its lines, less what its
    refunds brought back, of which there is no more than it had."""
    if order["stock"]["status"] == "restocked":
        return {}
    back = Counter[str]()
    for refund in order.get("refunds", ()):
        if refund.get("restocked"):
            for line in refund.get("products", ()):
                back[line["productId"]] += line["quantity"] if line["restock"] else 0
    return {product: max(0, taken - back[product]) for product, taken in quantities(order).items()}


def _was_tracked(product: str, order: Order, look: Look) -> bool:
    """Whether the product was tracked when the order took its stock.

    One that is tracked from later on has its first movement later. Before its first it had nothing on hand,
    so no order could take it.
    """
    taken = next((event["at"] for event in order["events"] if event["type"] == "stock.decremented"), None)
    first = look.tracked_since.get(product)
    return taken is not None and first is not None and first < taken - _SKEW


def _doubled(rows: list[Row]) -> dict[str, str]:
    times = Counter(
        (row.product_id, row.kind, row.refund_id if row.kind == "restock" else None) for row in rows
    )
    return {product: f"{n} of kind {kind}" for (product, kind, _), n in times.items() if n > 1}


def _told(rows: list[Row]) -> str:
    return ", ".join(f"{row.kind} {row.quantity} of {row.product_id}" for row in rows[:5])
