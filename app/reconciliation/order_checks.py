"""Checks that compare an order with its log, its due work, its notifications, its deliveries and the feed.

Each check yields the findings of one kind. An order that has just changed is not compared with other
documents.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from app import money
from app.clock import to_text
from app.orders.events import is_public
from app.orders.fields import STATE, with_amounts
from app.orders.goods import cancelled, fulfillment, open_pieces, ordered, received, shipped
from app.orders.holds import over
from app.orders.log import Event
from app.orders.model import Order, digest_of, digest_of_note, logged_digest
from app.orders.pieces import cost, is_by_lines, lowered, lowering, shares, to_pay_back
from app.orders.refunds import Refund
from app.orders.shares import total
from app.orders.shortages import expires_from, may_wait
from app.orders.states import OPEN_PAYMENT
from app.reconciliation.records import ADOPTED_BY, CHANGING, FEEDING, Case, Finding, Recorded
from app.webhooks.model import delivery_id, wants

# Characters of a field's value that a report shows.
_LONGEST = 500


def log_broken(case: Case) -> Iterator[Finding]:
    """A gap in the log, or a hash that does not chain."""
    if case.order and case.bad_sequence is not None:
        yield Finding(_ids(case.order), "an intact log", f"event {case.bad_sequence} is missing or changed")


def document_differs(case: Case) -> Iterator[Finding]:
    """A state that does not follow from the events of an intact log."""
    order = case.order
    folded = case.folded
    if order is None or folded is None or case.bad_sequence is not None:
        return
    if isinstance(folded, Exception):
        yield Finding(_ids(order), "events that can be folded", repr(folded))
    elif wrong := [field for field in STATE if folded.get(field) != order.get(field)]:
        expected, found = (
            ", ".join(f"{field}: {_shown(field, one)}" for field in wrong) for one in (folded, order)
        )
        yield Finding(_ids(order), expected, found)


def personal_differs(case: Case) -> Iterator[Finding]:
    """Personal data that do not match the digest in a sound log."""
    order = case.order
    if order is None or "personal" not in order:
        return
    is_sound = case.bad_sequence is None and not isinstance(case.folded, Exception)
    if is_sound and digest_of(order["personal"]) != logged_digest(order["events"]):
        yield Finding(_ids(order), "data of the log's digest", "other data")


def email_key_differs(case: Case) -> Iterator[Finding]:
    """A key by email that is not that of the address. The key by the previous secret is good, too."""
    order: Any = case.order
    if order is None or any(personal_differs(case)):
        return
    email, key = order.get("personal", {}).get("email"), order.get("emailKey")
    if email is None and key is not None:
        yield Finding(_ids(order), "no key", "a key")
    expected = case.context.personal_index.keys_of(email) if email is not None else []
    if expected and key not in expected:
        yield Finding(_ids(order), "the key of its email", "no key" if key is None else "another key")


def note_differs(case: Case) -> Iterator[Finding]:
    """Texts of notes that do not match the digests in a sound log, that are missing, or that were erased."""
    order = case.order
    if order is None or case.bad_sequence is not None or not isinstance(case.folded, dict):
        return
    notes = case.folded.get("notes", ())
    if not notes and "noteTexts" not in order:
        return
    added = [event["data"] for event in order["events"] if event["type"] == "note.added"]
    digests = {data["noteId"]: data["textDigest"] for data in added}
    expected = {note["id"]: digests[note["id"]] for note in notes if "erased" not in note}
    texts = {text["id"]: digest_of_note(text) for text in order.get("noteTexts", ())}
    # The erasure of the customer's data takes the texts and leaves no event.
    erased = {note["id"] for note in notes if "erasedAt" in order and note["createdAt"] <= order["erasedAt"]}
    for note_id in sorted(expected.keys() | texts.keys()):
        wanted, text = expected.get(note_id), texts.get(note_id)
        if wanted != text and not (text is None and note_id in erased):
            shown = (
                ("no text" if wanted is None else "the text of the log's digest"),
                ("no text" if text is None else "another text"),
            )
            yield Finding(_ids(order, noteId=note_id), *shown)


def total_differs(case: Case) -> Iterator[Finding]:
    """A total that is not the sum of the lines and adjustments."""
    order = case.at_rest
    if order is None:
        return
    expected = total(order["products"], order.get("adjustments", ()))
    if expected is not None and expected != order["totalAmount"]:
        yield Finding(_ids(order), _money(expected, order), _money(order["totalAmount"], order))


def refund_beyond_shares(case: Case) -> Iterator[Finding]:
    """Refunds by lines of more than their pieces cost, though no amount was requested."""
    order = case.at_rest
    if order is None or not any(map(_is_computed, order.get("refunds", ()))):
        return
    for refund, share in zip(order["refunds"], shares(order), strict=True):
        if _is_computed(refund) and refund["amount"] > share:
            ids = _ids(order, refundId=refund["id"])
            yield Finding(ids, f"at most {_money(share, order)}", _money(refund["amount"], order))


def shipped_beyond_ordered(case: Case) -> Iterator[Finding]:
    """Lines of which more pieces are shipped and cancelled than were ordered."""
    order = case.at_rest
    if order is None or order["status"] == "cancelled":
        return
    for line, (whole, left) in enumerate(zip(ordered(order), open_pieces(order), strict=True), 1):
        if left < 0:
            yield Finding(_ids(order, line=line), f"at most {whole} pieces", f"{whole - left}")


def status_unfounded(case: Case) -> Iterator[Finding]:
    """A status that the shipments do not give: an order is shipped once nothing is open."""
    order = case.at_rest
    if order is None or order["status"] not in ("confirmed", "shipped", "delivered"):
        return
    far = fulfillment(order)["status"]
    expected = far if far in ("shipped", "delivered") else "confirmed"
    if expected != order["status"]:
        yield Finding(_ids(order), expected, order["status"])


def returned_beyond_shipped(case: Case) -> Iterator[Finding]:
    """Lines of which more pieces came back than were shipped."""
    order = case.at_rest
    if order is None or "returns" not in order:
        return
    for line, (back, out) in enumerate(zip(received(order), shipped(order), strict=True), 1):
        if back > out:
            yield Finding(_ids(order, line=line), f"at most {out} pieces back", str(back))


def return_refund_differs(case: Case) -> Iterator[Finding]:
    """Refunds that a return names and that are not its own, and refunds of returns that none names."""
    order = case.at_rest
    if order is None:
        return
    named = {
        thing["refundId"]: one["id"]
        for one in order.get("returns", ())
        for thing in (one, *one["receipts"])
        if "refundId" in thing
    }
    own = {refund["id"]: refund["returnId"] for refund in order.get("refunds", ()) if "returnId" in refund}
    for refund_id in sorted(named.keys() | own.keys()):
        expected, found = named.get(refund_id), own.get(refund_id)
        if expected != found:
            shown = (
                f"a refund of the return {one}" if one else "no refund of a return"
                for one in (expected, found)
            )
            yield Finding(_ids(order, refundId=refund_id), *shown)


def cancellation_differs(case: Case) -> Iterator[Finding]:
    """Part cancellations that take off another amount than their pieces cost.

    Those of pieces without a price, and the one that cancelled the whole order, are for other amounts.
    """
    order = case.at_rest
    if order is None:
        return
    made = lowering(order)
    for number, one in enumerate(made if order["status"] != "cancelled" else made[:-1]):
        wanted = cancelled({**order, "cancellations": [one]})
        if all("unitPrice" in order["products"][some["line"] - 1] for some in one["products"]):
            before: Order = {**order, "cancellations": made[:number], "refunds": []}
            share = cost(order, to_pay_back(before, wanted))
            if share != one["amount"]:
                ids = _ids(order, cancellationId=one["id"])
                yield Finding(ids, _money(share, order), _money(one["amount"], order))


def cancellation_unpaid(case: Case) -> Iterator[Finding]:
    """More money than is due after part cancellations, and no refund of the rest."""
    order = case.at_rest
    if (
        order is None
        or order["status"] == "cancelled"
        or order["payment"]["status"] in (*OPEN_PAYMENT, "voided")
    ):
        return
    lowers = {one["id"] for one in lowering(order)}
    back = [one["amount"] for one in order.get("refunds", ()) if one.get("cancellationId") in lowers]
    due, taken = order["totalAmount"] - lowered(order), order["payment"]["capturedAmount"] - sum(back)
    if lowers and taken > due:
        yield Finding(_ids(order), f"{_money(due, order)} taken", f"{_money(taken, order)} taken")


def overdue(case: Case) -> Iterator[Finding]:
    """A deadline that passed long ago."""
    order = case.order
    if order and (owed := case.due_steps) and (due_by := order.get("dueBy")) and due_by < case.long_ago:
        yield Finding(_ids(order), f"{', '.join(owed)} done", f"due by {to_text(due_by)}")


def forgotten(case: Case) -> Iterator[Finding]:
    """Due work without a deadline."""
    order = case.order
    if order and (owed := case.due_steps) and order.get("dueBy") is None:
        yield Finding(_ids(order), f"a deadline for {', '.join(owed)}", "no deadline")


def backorder_overdue(case: Case) -> Iterator[Finding]:
    """An order that has waited for stock long after its `backorderUntil`."""
    order = case.order
    if order and order["status"] == "pending" and may_wait(order) and order["backorderUntil"] < case.long_ago:
        until = to_text(order["backorderUntil"])
        yield Finding(_ids(order), "decremented or cancelled", f"has no stock since {until}")


def expiry_overdue(case: Case) -> Iterator[Finding]:
    """A pending order that should have expired long ago."""
    order = case.order
    if order and order["status"] == "pending" and "holds" not in order and not may_wait(order):
        since = expires_from(order)
        if since < case.long_ago - case.context.order_expiry:
            yield Finding(_ids(order), "confirmed or cancelled", f"pending since {to_text(since)}")


def hold_overdue(case: Case) -> Iterator[Finding]:
    """Holds that should have ended long ago."""
    if order := case.order:
        for hold in over(order, case.long_ago):
            ended = f"ended at {to_text(hold['until'])}"
            yield Finding(_ids(order, code=hold["code"]), ended, "in force")


def announced_ahead(case: Case) -> Iterator[Finding]:
    """A mark of announced events that is beyond the last event."""
    order = case.order
    if order and order.get("announced", 0) > order["version"]:
        yield Finding(_ids(order), f"at most {order['version']}", str(order["announced"]))


def announcement_missing(case: Case) -> Iterator[Finding]:
    """The first announced event without a notification."""
    order = _kept(case)
    if order is None:
        return
    recorded = {row.sequence for row in case.records.notifications}
    for event in _announced(order):
        if event["sequence"] not in recorded and event["actor"] != ADOPTED_BY:
            yield Finding(_ids(order, sequence=event["sequence"]), event["type"], "no notification")
            return


def notification_unfounded(case: Case) -> Iterator[Finding]:
    """Notifications of events that the order does not have."""
    return _unfounded(case, "notificationId", case.records.notifications)


def delivery_missing(case: Case) -> Iterator[Finding]:
    """Announced events without a delivery to an endpoint that asked for them."""
    order = _kept(case)
    if order is None:
        return
    recorded = {row.where for row in case.records.deliveries}
    for event in _announced(order):
        sequence, at = event["sequence"], event["at"]
        if at < case.context.deliveries_since:
            continue
        for endpoint in case.context.endpoints:
            # Before its last change the endpoint may have been disabled, or may have asked for other events.
            is_asked_for = at > endpoint["updatedAt"] + CHANGING and wants(endpoint, event["type"], at)
            if is_asked_for and delivery_id(order["id"], sequence, endpoint["id"], at) not in recorded:
                ids = _ids(order, sequence=sequence, endpointId=endpoint["id"])
                yield Finding(ids, event["type"], "no delivery")


def delivery_unfounded(case: Case) -> Iterator[Finding]:
    """Deliveries of events that the order does not have."""
    return _unfounded(case, "deliveryId", case.records.deliveries)


def feed_unfounded(case: Case) -> Iterator[Finding]:
    """Rows of the feed for events that the order does not have."""
    return _unfounded(case, "position", case.records.feed)


def feed_behind(case: Case) -> Iterator[Finding]:
    """The first event that the feed lacks, if it has none after it."""
    return _first_missing(case, is_hole=False)


def feed_hole(case: Case) -> Iterator[Finding]:
    """The first event that the feed lacks, if it has later ones."""
    return _first_missing(case, is_hole=True)


def _ids(order: Order, **more: Any) -> dict[str, Any]:
    return {"orderId": order["id"], **more}


def _kept(case: Case) -> Order | None:
    """The order, if it is at rest and its records are not being purged."""
    order = case.at_rest
    if order and order.get("deletedAt", case.context.now) >= case.context.kept_since:
        return order
    return None


def _announced(order: Order) -> Iterator[Event]:
    mark = order.get("announced", 0)
    for event in order["events"]:
        if event["sequence"] <= mark and is_public(event["type"], event["at"]):
            yield event


def _unfounded(case: Case, name: str, rows: Sequence[Recorded]) -> Iterator[Finding]:
    """Rows whose event the order does not have; without an order, all rows."""
    order = case.at_rest
    if case.order and not order:
        return
    types = {event["sequence"]: event["type"] for event in order["events"]} if order else {}
    for row in rows:
        happened = types.get(row.sequence)
        if happened != row.type:
            ids = {"orderId": case.records.order_id, "sequence": row.sequence, name: row.where}
            yield Finding(ids, happened or "no such event", row.type)


def _first_missing(case: Case, *, is_hole: bool) -> Iterator[Finding]:
    order = _kept(case)
    if order is None or not case.context.is_fed:
        return
    fed = {row.sequence for row in case.records.feed}
    before = case.context.now - FEEDING
    for event in order["events"]:
        sequence = event["sequence"]
        if sequence not in fed and event["at"] < before:
            if is_hole == (sequence < max(fed, default=0)):
                yield Finding(_ids(order, sequence=sequence), event["type"], "not in the feed")
            return


def _is_computed(refund: Refund) -> bool:
    return "computed" in refund and is_by_lines(refund)


def _money(minor: int, order: Order) -> str:
    currency = order["currency"]
    return money.to_text(minor, currency) if currency in money.DECIMALS else str(minor)


def _shown(field: str, order: Order) -> str:
    value = with_amounts({field: order.get(field)}, lambda minor: _money(minor, order))[field]
    return to_text(value) if isinstance(value, datetime) else str(value)[:_LONGEST]
