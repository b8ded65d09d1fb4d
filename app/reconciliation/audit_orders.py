"""Compares an order with its log, its due work, its notifications, its deliveries and the feed."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from app import money
from app.clock import to_text
from app.orders import steps
from app.orders.events import is_public
from app.orders.fields import STATE, with_amounts
from app.orders.log import first_bad_sequence
from app.orders.model import Order, digest_of, fold
from app.reconciliation.kinds import Difference
from app.reconciliation.records import (
    ADOPTED_BY,
    CHANGING,
    DEADLINES,
    FEEDING,
    AuditContext,
    OrderRecords,
    Recorded,
)
from app.webhooks.model import delivery_id, wants

# Characters of a field's value that a report shows.
_LONGEST = 500


def differences(records: OrderRecords, context: AuditContext) -> Iterator[Difference]:
    """Yields the differences. An order that has just changed is not compared with other documents."""
    order = records.order
    if order is None:
        yield from _unfounded(records, {}, 0)
        return
    yield from _log(order)
    yield from _due_work(order, context)
    if context.is_at_rest(order):
        types = {event["sequence"]: event["type"] for event in order["events"]}
        yield from _unfounded(records, types, order["version"])
        if "deletedAt" not in order or order["deletedAt"] >= context.kept_since:
            yield from _announcements(order, records.notifications)
            yield from _deliveries(order, records.deliveries, context)
            if context.is_fed:
                yield from _feed(order, records.feed, context.now - FEEDING)


def _log(order: Order) -> Iterator[Difference]:
    ids, version = {"orderId": order["id"]}, order["version"]
    bad = first_bad_sequence(order["id"], order["events"], version)
    if bad is not None:
        yield Difference("log_broken", ids, "an intact log", f"event {bad} is not as it was", version)
        return
    try:
        folded = fold(order["id"], order["events"])
    except Exception as error:
        # Any fault in an event is a difference of this order, and must not stop the check of the others.
        yield Difference("document_differs", ids, "events that can be folded", repr(error), version)
        return
    wrong = [field for field in STATE if folded.get(field) != order.get(field)]
    if wrong:
        expected, found = (
            ", ".join(f"{field}: {_shown(field, one)}" for field in wrong) for one in (folded, order)
        )
        yield Difference("document_differs", ids, expected, found, version)
    if "personal" in order:
        digest = order["events"][0]["data"].get("personalDigest")
        if digest_of(order["personal"]) != digest:
            yield Difference("personal_differs", ids, "data of the log's digest", "other data", version)


def _due_work(order: Order, context: AuditContext) -> Iterator[Difference]:
    ids, version = {"orderId": order["id"]}, order["version"]
    margin = DEADLINES * context.step_deadline
    owed, due_by = steps.due(order), order.get("dueBy")
    if order.get("announced", 0) > version:
        yield Difference("announced_ahead", ids, f"at most {version}", str(order["announced"]), version)
    if owed and due_by is None:
        yield Difference("forgotten", ids, f"a mark that it owes {', '.join(owed)}", "no mark", version)
    if owed and due_by and due_by < context.now - margin:
        yield Difference("overdue", ids, f"{', '.join(owed)} done", f"due by {to_text(due_by)}", version)
    if order["status"] == "pending" and order["createdAt"] < context.now - context.order_expiry - margin:
        found = f"pending since {to_text(order['createdAt'])}"
        yield Difference("expiry_overdue", ids, "confirmed or cancelled", found, version)


def _unfounded(records: OrderRecords, types: dict[int, str], version: int) -> Iterator[Difference]:
    for kind, name, rows in (
        ("notification_unfounded", "notificationId", records.notifications),
        ("delivery_unfounded", "deliveryId", records.deliveries),
        ("feed_unfounded", "position", records.feed),
    ):
        for row in rows:
            happened = types.get(row.sequence)
            if happened != row.type:
                ids = {"orderId": records.order_id, "sequence": row.sequence, name: row.where}
                yield Difference(kind, ids, happened or "no such event", row.type, version)


def _announcements(order: Order, notifications: Sequence[Recorded]) -> Iterator[Difference]:
    recorded = {row.sequence for row in notifications}
    for event in order["events"]:
        sequence = event["sequence"]
        is_due = sequence <= order.get("announced", 0) and is_public(event["type"], event["at"])
        if is_due and sequence not in recorded and event["actor"] != ADOPTED_BY:
            ids = {"orderId": order["id"], "sequence": sequence}
            yield Difference("announcement_missing", ids, event["type"], "no notification", order["version"])
            return


def _deliveries(order: Order, deliveries: Sequence[Recorded], context: AuditContext) -> Iterator[Difference]:
    recorded = {row.where for row in deliveries}
    for event in order["events"]:
        sequence, at = event["sequence"], event["at"]
        is_due = sequence <= order.get("announced", 0) and is_public(event["type"], at)
        if not is_due or at < context.deliveries_since:
            continue
        for endpoint in context.endpoints:
            # Before its last change the endpoint may have been disabled, or may have asked for other events.
            is_asked_for = at > endpoint["updatedAt"] + CHANGING and wants(endpoint, event["type"], at)
            if is_asked_for and delivery_id(order["id"], sequence, endpoint["id"], at) not in recorded:
                ids = {"orderId": order["id"], "sequence": sequence, "endpointId": endpoint["id"]}
                yield Difference("delivery_missing", ids, event["type"], "no delivery", order["version"])


def _feed(order: Order, feed: Sequence[Recorded], before: datetime) -> Iterator[Difference]:
    fed = {row.sequence for row in feed}
    last = max(fed, default=0)
    for event in order["events"]:
        sequence = event["sequence"]
        if sequence not in fed and event["at"] < before:
            kind = "feed_hole" if sequence < last else "feed_behind"
            ids = {"orderId": order["id"], "sequence": sequence}
            yield Difference(kind, ids, event["type"], "not in the feed", order["version"])
            return


def _shown(field: str, order: Order) -> str:
    currency = order["currency"]

    def amount(minor: int) -> str:
        return money.to_text(minor, currency) if currency in money.DECIMALS else str(minor)

    value = with_amounts({field: order.get(field)}, amount)[field]
    return to_text(value) if isinstance(value, datetime) else str(value)[:_LONGEST]
