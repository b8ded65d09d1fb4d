"""The largest order that the rules allow stays far below what MongoDB takes as one document."""

from __future__ import annotations

from itertools import cycle
from types import SimpleNamespace
from typing import Any

import bson
from flask import Flask, g

from app.clock import id_at, now
from app.config import Settings
from app.orders.beside_store import RefundKey
from app.orders.bounds import (
    LONGEST_CODE,
    LONGEST_MESSAGE,
    MOST_CANCELLATIONS,
    MOST_CANCELLED_LINES,
    MOST_CORRECTIONS,
    MOST_EVENTS,
    MOST_REFUND_LINES,
    MOST_REFUNDS,
    MOST_RETURN_LINES,
    MOST_RETURN_TEXT,
    MOST_RETURNS,
    MOST_SHIPMENTS,
)
from app.orders.documents_store import document_of
from app.orders.fields import LONGEST_NOTE, MOST_NOTES, MOST_TAGS
from app.orders.goods_fields import LONGEST_RETURN_NOTE
from app.orders.model import Change, Order, Origin, Personal, advance, create
from app.orders.schemas import OrderIn, StatusChange
from app.payments.model import Outcome, Repayment
from app.payments.steps import charge, repaid
from app.refunds.schemas import RefundIn

MOST_OF_MONGODB = 16 * 1024 * 1024
# The largest character in UTF-8; JSON and BSON both spend four bytes on it.
BIG = "😀"
ACTOR = BIG * 128
AT = now()


def widest(length: int, number: int = 0) -> str:
    return f"{number:03}" + BIG * (length - 3)


def placed() -> Order:
    body = {
        "userId": ACTOR,
        "products": [
            {"productId": widest(128, number), "quantity": 1_000_000, "unitPrice": 0} for number in range(200)
        ],
        "adjustments": [{"kind": "fee", "amount": 0, "name": BIG * 100, "line": 200} for _ in range(100)],
        "totalAmount": 0,
        "currency": "USD",
        "paymentMethod": BIG * 255,
        "reference": BIG * 64,
        "email": f"{'e' * 64}@{'e' * 185}.org",
        "shippingAddress": {
            "name": BIG * 200, "line1": BIG * 200, "line2": BIG * 200, "city": BIG * 100,
            "region": BIG * 100, "postalCode": BIG * 20, "country": "DE",
        },
        "metadata": {widest(64, number): BIG * 512 for number in range(20)},
        "holds": [
            {
                "code": f"{number:040}", "reason": BIG * 500, "blocks": ["capture", "ship"],
                "until": "2100-01-01T00:00:00Z", "then": "release",
            }
            for number in range(20)
        ],
    }  # fmt: skip
    app = Flask("app")
    app.extensions["services"] = SimpleNamespace(settings=Settings.from_env({"AUTH": "off"}))
    with app.app_context():
        g.services = app.extensions["services"]
        draft: Any = OrderIn().load(body)
    known = ("email", "shippingAddress", "metadata")
    personal: Any = {"salt": "f" * 32, **{name: draft.pop(name) for name in known}}
    order = create(id_at(AT), AT, ACTOR, draft, Personal(**personal))
    order["origin"] = Origin(requestId="r" * 128, traceparent="t" * 55)
    return {**order, "totalAmount": 10**12}


def refund_drafts() -> list[dict[str, Any]]:
    lines = [{"line": n + 1, "quantity": 1, "restock": True} for n in range(200)]
    full = MOST_REFUND_LINES // len(lines)
    asked = [{"amount": 1, "reason": BIG * 500, "products": lines}] * full
    asked += [{"amount": 1, "reason": BIG * 500}] * (MOST_REFUNDS - full)
    drafts: list[dict[str, Any]] = [RefundIn().load(draft) for draft in asked]
    for draft in drafts:
        for line in draft.get("products", ()):
            line.setdefault("productId", widest(128, line["line"] - 1))
        draft |= {"shipping": True, "computed": True}
    return drafts


def failed(order: Order, refund_id: str) -> list[Change]:
    """As a provider that has a lot to say makes it."""
    outcome = Outcome("failed", code=BIG * 1_000, message=BIG * 10_000)
    return repaid(order, [(Repayment(charge(order), refund_id, 1, 1), outcome)])


def returned(order_id: str) -> list[Change]:
    """Returns and receipts with as many lines, and as much text, as an order can have."""
    changes: list[Change] = []
    text, lines = MOST_RETURN_TEXT, MOST_RETURN_LINES // MOST_RETURNS
    for number in range(1, MOST_RETURNS + 1):
        note, text = BIG * min(text, LONGEST_RETURN_NOTE), max(0, text - LONGEST_RETURN_NOTE)
        pieces = [{"line": 200, "quantity": 1_000_000} for _ in range(lines)]
        back = [{**some, "condition": "resellable"} for some in pieces]
        refund = {"refundId": f"{order_id}-{number}", "amount": 10**12}
        of = {"returnId": f"{order_id}-r{number}"}
        data = {**of, "receipt": 1, "products": back, "unannounced": pieces, **refund}
        changes += [
            Change("return.requested", {**of, "products": pieces, "note": note, "refund": "on_approval"}),
            Change("return.approved", {**of, **refund}),
            Change("return.received", data),
        ]
    return changes


def parcels(order: Order, tracking: Any) -> list[Change]:
    """As many shipments as there can be."""
    pieces = [{"line": line + 1, "quantity": 1} for line in range(200)]
    return [
        Change("shipment.created", {"shipmentId": f"s{number + 1}", "products": pieces, "tracking": tracking})
        for number in range(MOST_SHIPMENTS)
    ]


def heaviest() -> dict[str, Any]:
    """The document of an order that has all that can be had, up to the last event."""
    order = placed()
    shortages = [{"productId": widest(128, n), "requested": 10**6, "available": 10**6} for n in range(200)]
    order["stock"]["shortages"] = shortages
    tracking = {"carrier": BIG * 100, "number": BIG * 100, "url": f"https://{BIG * 1992}"}
    body: Any = StatusChange().load({"status": "shipped", "tracking": tracking})
    action = {"type": "t" * 100, "clientSecret": "s" * 255}
    changes = [
        Change("payment.action_required", {"reference": "p" * 255, "action": action}),
        Change("payment.authorized", {"reference": "p" * 255}),
        Change("stock.decremented"),
        Change("payment.captured", {"capturedAmount": 10**12}),
        Change("order.confirmed"),
        *parcels(order, body["tracking"]),
        Change("order.shipped", {"tracking": body["tracking"]}),
        Change("order.delivered"),
        Change("order.deleted", {"deletedAt": AT}),
    ]
    texts = []
    for number in range(MOST_NOTES):
        note = f"{order['id']}-n{number + 1}"
        data = {"noteId": note, "visibility": "internal", "textDigest": "d" * 64}
        changes.append(Change("note.added", data))
        texts.append({"id": note, "salt": "f" * 32, "text": BIG * LONGEST_NOTE})
    for number in range(MOST_CANCELLATIONS):
        pieces = [{"line": n + 1, "quantity": 1} for n in range(MOST_CANCELLED_LINES // MOST_CANCELLATIONS)]
        off = {"cancellationId": f"{order['id']}-c{number + 1}", "products": pieces, "amount": 1}
        changes.append(Change("cancellation.created", {**off, "reason": BIG * 500}))
    changes.append(
        Change("order.tagged", {"added": [f"{n:02}" * 20 for n in range(MOST_TAGS)], "removed": []})
    )
    changes += returned(order["id"])
    refunds = []
    for number, draft in enumerate(refund_drafts()):
        refunds.append(f"{order['id']}-{number + 1}")
        changes.append(Change("refund.requested", {**draft, "amount": 1, "refundId": refunds[-1]}))
        changes += failed(order, refunds[-1])
    room = max(0, MOST_EVENTS - 3 - len(changes))
    corrected = Change("shipment.corrected", {"shipmentId": "s1", "tracking": body["tracking"]})
    changes += [corrected] * min(room, MOST_CORRECTIONS)
    for refund_id in cycle(refunds):
        if len(changes) > MOST_EVENTS - 3:
            break
        changes += [Change("refund.retried", {"refundId": refund_id, "amount": 1}), *failed(order, refund_id)]
    order = advance(order, AT, ACTOR, changes)
    caller = {"caller": ACTOR, "key": "k" * 255, "digest": "d" * 64}
    keys = [RefundKey(**caller, refund_id=refund_id)._asdict() for refund_id in refunds]
    kept = {"idempotency": {**caller, "answered": 1}, "refundKeys": keys, "announced": 1, "attempts": 9}
    kept |= {"noteTexts": texts, "commandKeys": [{**caller, "version": 1, "made": refunds[0]}] * 1_000}
    return {**document_of(order), **kept, "dueBy": AT, "erasedAt": AT, "cancellation": {"detail": BIG * 500}}


def test_the_heaviest_order_takes_less_than_three_quarters_of_a_document() -> None:
    document = heaviest()
    assert len(document["events"]) >= MOST_EVENTS - 2
    assert len(document["refunds"]) == MOST_REFUNDS
    assert len(document["returns"]) == MOST_RETURNS
    assert len(document["notes"]) == len(document["noteTexts"]) == MOST_NOTES
    weight = len(bson.encode(document))
    assert 5_000_000 < weight < MOST_OF_MONGODB * 3 / 4, weight


def test_a_providers_long_reason_of_a_failure_is_cut() -> None:
    (change,) = failed(placed(), "r-1")
    failure = change.data["failure"]
    assert (len(failure["code"]), len(failure["message"])) == (LONGEST_CODE, LONGEST_MESSAGE)
