"""Whether an order agrees with its own log, with what it owes, and with what was told of it."""

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
from app.reconciliation.records import ADOPTED_BY, CHANGING, DEADLINES, FEEDING, Dossier, Look, Told
from app.webhooks.model import delivery_id, wants

# Characters of a field's value, as a report tells it.
_LONGEST = 500


def differences(dossier: Dossier, look: Look) -> Iterator[Difference]:
    """What does not agree. Of what other documents say, an order that has just changed is not judged."""
    order = dossier.order
    if order is None:
        yield from _unfounded(dossier, {}, 0)
        return
    yield from _log(order)
    yield from _duties(order, look)
    if look.is_at_rest(order):
        types = {event["sequence"]: event["type"] for event in order["events"]}
        yield from _unfounded(dossier, types, order["version"])
        if "deletedAt" not in order or order["deletedAt"] >= look.kept_since:
            yield from _announcements(order, dossier.notifications)
            yield from _deliveries(order, dossier.deliveries, look)
            if look.is_fed:
                yield from _feed(order, dossier.feed, look.now - FEEDING)


def _log(order: Order) -> Iterator[Difference]:
    ids, version = {"orderId": order["id"]}, order["version"]
    bad = first_bad_sequence(order["id"], order["events"], version)
    if bad is not None:
        yield Difference("log_broken", ids, "an intact log", f"event {bad} is not as it was", version)
        return
    try:
        told = fold(order["id"], order["events"])
    except Exception as error:
        # Whatever is wrong with an event that chains, its order is to be reported, and no other to suffer.
        yield Difference("document_differs", ids, "events that lead somewhere", repr(error), version)
        return
    wrong = [field for field in STATE if told.get(field) != order.get(field)]
    if wrong:
        expected, found = (
            ", ".join(f"{field}: {_said(field, one)}" for field in wrong) for one in (told, order)
        )
        yield Difference("document_differs", ids, expected, found, version)
    if "personal" in order:
        digest = order["events"][0]["data"].get("personalDigest")
        if digest_of(order["personal"]) != digest:
            yield Difference("personal_differs", ids, "data of the log's digest", "other data", version)


def _duties(order: Order, look: Look) -> Iterator[Difference]:
    ids, version = {"orderId": order["id"]}, order["version"]
    margin = DEADLINES * look.step_deadline
    owed, due_by = steps.due(order), order.get("dueBy")
    if order.get("announced", 0) > version:
        yield Difference("announced_ahead", ids, f"at most {version}", str(order["announced"]), version)
    if owed and due_by is None:
        yield Difference("forgotten", ids, f"a mark that it owes {', '.join(owed)}", "no mark", version)
    if owed and due_by and due_by < look.now - margin:
        yield Difference("overdue", ids, f"{', '.join(owed)} done", f"due by {to_text(due_by)}", version)
    if order["status"] == "pending" and order["createdAt"] < look.now - look.order_expiry - margin:
        found = f"pending since {to_text(order['createdAt'])}"
        yield Difference("expiry_overdue", ids, "confirmed or cancelled", found, version)


def _unfounded(dossier: Dossier, types: dict[int, str], version: int) -> Iterator[Difference]:
    for kind, name, all_told in (
        ("notification_unfounded", "notificationId", dossier.notifications),
        ("delivery_unfounded", "deliveryId", dossier.deliveries),
        ("feed_unfounded", "position", dossier.feed),
    ):
        for told in all_told:
            happened = types.get(told.sequence)
            if happened != told.type:
                ids = {"orderId": dossier.order_id, "sequence": told.sequence, name: told.where}
                yield Difference(kind, ids, happened or "no such event", told.type, version)


def _announcements(order: Order, notifications: Sequence[Told]) -> Iterator[Difference]:
    recorded = {told.sequence for told in notifications}
    for event in order["events"]:
        sequence = event["sequence"]
        is_due = sequence <= order.get("announced", 0) and is_public(event["type"], event["at"])
        if is_due and sequence not in recorded and event["actor"] != ADOPTED_BY:
            ids = {"orderId": order["id"], "sequence": sequence}
            yield Difference("announcement_missing", ids, event["type"], "no notification", order["version"])
            return


def _deliveries(order: Order, deliveries: Sequence[Told], look: Look) -> Iterator[Difference]:
    recorded = {told.where for told in deliveries}
    for event in order["events"]:
        sequence, at = event["sequence"], event["at"]
        is_due = sequence <= order.get("announced", 0) and is_public(event["type"], at)
        if not is_due or at < look.deliveries_since:
            continue
        for endpoint in look.endpoints:
            # Before its last change the endpoint may have been disabled, or may have asked for other events.
            is_asked_for = at > endpoint["updatedAt"] + CHANGING and wants(endpoint, event["type"], at)
            if is_asked_for and delivery_id(order["id"], sequence, endpoint["id"], at) not in recorded:
                ids = {"orderId": order["id"], "sequence": sequence, "endpointId": endpoint["id"]}
                yield Difference("delivery_missing", ids, event["type"], "no delivery", order["version"])


def _feed(order: Order, feed: Sequence[Told], before: datetime) -> Iterator[Difference]:
    fed = {told.sequence for told in feed}
    last = max(fed, default=0)
    for event in order["events"]:
        sequence = event["sequence"]
        if sequence not in fed and event["at"] < before:
            kind = "feed_hole" if sequence < last else "feed_behind"
            ids = {"orderId": order["id"], "sequence": sequence}
            yield Difference(kind, ids, event["type"], "not in the feed", order["version"])
            return


def _said(field: str, order: Order) -> str:
    currency = order["currency"]

    def amount(minor: int) -> str:
        return money.to_text(minor, currency) if currency in money.DECIMALS else str(minor)

    value = with_amounts({field: order.get(field)}, amount)[field]
    return to_text(value) if isinstance(value, datetime) else str(value)[:_LONGEST]
