"""Checks the books of finished orders: every step was done, and no step twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from app.notifications.mail.channel import mailed
from app.orders import steps
from app.orders.events import is_public
from app.orders.log import first_bad_sequence
from app.orders.model import fold, quantities

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.end_to_end.service import Service

Document = dict[str, Any]

# What the provider may have on its books for an order, by the payment status that the order has at rest.
PROVIDER_SAYS = {
    "captured": ("captured",),
    "partially_refunded": ("captured",),
    "refunded": ("refunded",),
    "declined": ("declined",),
    "voided": ("voided", "declined"),
}
MONEY_MOVED = ("captured", "partially_refunded", "refunded")
# Once for each write that ends refunds.
REPEATABLE = ("payment.partially_refunded",)
LIVE_STATUSES = ("confirmed", "shipped", "delivered")
MOVED_BY_STOCK_STATUS = {"decremented": ("decrement",), "restocked": ("decrement", "restock")}


def faults(service: Service, order_ids: Iterable[str]) -> list[str]:
    """Everything that is not as it must be with these orders, and with the ledger of all stock."""
    ids = list(dict.fromkeys(order_ids))
    database = service.database
    orders = {
        str(found["_id"]): {**found, "id": str(found["_id"])}
        for found in database.orders.find({"_id": {"$in": [ObjectId(order_id) for order_id in ids]}})
    }
    payments = {found["_id"]: found for found in database.sandbox_payments.find({"_id": {"$in": ids}})}
    movements = _by_order(database.stock_movements.find({"orderId": {"$in": ids}}))
    notifications = _by_order(database.notifications.find({"orderId": {"$in": ids}}))
    tracked = {found["_id"] for found in database.stock.find({}, {"_id": 1})}
    has_mail = "SMTP_URL" in service.stack.env
    found: list[str] = [f"{order_id} is lost" for order_id in ids if order_id not in orders]
    for order_id, order in orders.items():
        found += [
            f"{order_id} ({order['status']}): {fault}"
            for fault in (
                *_of_log(order),
                *_of_money(order, payments.get(order_id)),
                *_of_stock(order, movements[order_id], tracked),
                *_of_announcements(order, notifications[order_id], has_mail=has_mail),
            )
        ]
    return found + list(_of_ledger(service))


def _of_log(order: Document) -> Iterator[str]:
    if owed := steps.due(order):  # type: ignore[arg-type]
        yield f"still owes {owed}"
    if order["status"] == "pending":
        yield "still pending"
    events: Any = order["events"]
    kinds = Counter(
        (event["type"], event["data"].get("refundId"), event["data"].get("code")) for event in events
    )
    repeated = [kind for kind, number in kinds.items() if number > 1 and kind[0] not in REPEATABLE]
    if repeated:
        yield f"twice in its log: {repeated}"
    if bad := first_bad_sequence(order["id"], events):
        yield f"its log does not verify at {bad}"
    folded: Any = fold(order["id"], events)
    if any(folded[part] != order[part] for part in ("status", "payment", "stock", "version")) or (
        folded.get("refunds") != order.get("refunds")
    ):
        yield "its state is not what its log says"


def _of_money(order: Document, payment: Document | None) -> Iterator[str]:
    status = order["payment"]["status"]
    if status not in PROVIDER_SAYS:
        yield f"its payment is left {status}"
        return
    if status != "captured" and order["status"] in LIVE_STATUSES and not order.get("refunds"):
        yield f"its payment is {status}"
    if status == "captured" and order["status"] not in LIVE_STATUSES:
        yield f"its payment is {status}"
    if payment is None:
        yield "the provider has never heard of it"
        return
    if payment["status"] not in PROVIDER_SAYS[status]:
        yield f"its payment is {status}, which is {payment['status']} at the provider"
    captured = order["totalAmount"] if status in MONEY_MOVED else 0
    refunded = sum(refund["amount"] for refund in order.get("refunds", ()) if refund["status"] == "succeeded")
    if (order["payment"]["capturedAmount"], order["payment"]["refundedAmount"]) != (captured, refunded):
        yield f"it says captured and refunded otherwise than its refunds: {order['payment']}"
    if (payment["captured"], payment["refunded"]) != (captured, refunded):
        yield f"captured {payment['captured']} and refunded {payment['refunded']} at the provider"


def _of_stock(order: Document, rows: list[Document], tracked: set[str]) -> Iterator[str]:
    wanted: Any = quantities(order)  # type: ignore[arg-type]
    sign = {"decrement": -1, "restock": 1}
    expected = Counter(
        (product, kind, sign[kind] * quantity)
        for kind in MOVED_BY_STOCK_STATUS.get(order["stock"]["status"], ())
        for product, quantity in wanted.items()
        if product in tracked
    )
    moved = Counter((row["productId"], row["kind"], row["quantity"]) for row in rows)
    if moved != expected:
        yield f"its stock is {order['stock']['status']}, and moved: {dict(moved)}"
    if (order["status"] in LIVE_STATUSES) != (order["stock"]["status"] == "decremented"):
        yield f"its stock is {order['stock']['status']}"


def _of_announcements(order: Document, records: list[Document], *, has_mail: bool) -> Iterator[str]:
    by_mail = mailed(order["events"]) if has_mail and "email" in order.get("personal", {}) else ()
    expected = Counter(
        (event["sequence"], "mail" if event["sequence"] in by_mail else "log", "sent")
        for event in order["events"]
        if is_public(event["type"], event["at"])
    )
    made = Counter((record["sequence"], record["channel"], record["status"]) for record in records)
    if made != expected:
        yield f"announced {sorted(made.elements())}, not {sorted(expected.elements())}"


def _of_ledger(service: Service) -> Iterator[str]:
    sums = service.database.stock_movements.aggregate(
        [{"$group": {"_id": "$productId", "sum": {"$sum": "$quantity"}}}]
    )
    summed = {found["_id"]: found["sum"] for found in sums}
    for level in service.database.stock.find():
        moved = summed.get(level["_id"], 0)
        if level["onHand"] < 0 or level["onHand"] != moved:
            yield f"{level['_id']} has {level['onHand']} on hand, and its movements sum to {moved}"


def _by_order(rows: Iterable[Document]) -> dict[str, list[Document]]:
    by_order: dict[str, list[Document]] = defaultdict(list)
    for row in rows:
        by_order[row["orderId"]].append(row)
    return by_order
