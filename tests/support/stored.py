"""A right document of every collection, and an order at every end of its road."""

from __future__ import annotations

import copy
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from app.orders.model import Change, Personal, advance, create

if TYPE_CHECKING:
    from collections.abc import Callable

AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
CONFIRMED = (
    Change("payment.authorized", {"reference": "r"}),
    Change("stock.decremented"),
    Change("payment.captured", {"capturedAmount": 1250}),
    Change("order.confirmed"),
)
BACK = [{"productId": "p", "quantity": 1, "restock": True}]
CANCELLED = Change("order.cancelled", {"cancellation": {"reason": "requested", "detail": "changed my mind"}})
ROADS: dict[str, tuple[Change, ...]] = {
    "pending": (),
    "confirmed": CONFIRMED,
    "delivered": (
        *CONFIRMED,
        Change("order.shipped", {"tracking": {"carrier": "DHL", "number": "1"}}),
        Change("order.delivered"),
    ),
    "refunded": (
        *CONFIRMED,
        CANCELLED,
        Change("payment.partially_refunded", {"refundedAmount": 250}),
        Change("payment.refunded", {"refundedAmount": 1250}),
        Change("stock.restocked"),
    ),
    "partly refunded": (
        *CONFIRMED,
        Change("refund.requested", {"refundId": "r-1", "amount": 250, "reason": "late", "products": BACK}),
        Change("refund.succeeded", {"refundId": "r-1"}),
        Change("payment.partially_refunded", {"refundedAmount": 250}),
        Change("refund.restocked", {"refundId": "r-1", "restocked": True}),
        Change("refund.requested", {"refundId": "r-2", "amount": 1000}),
        Change("refund.failed", {"refundId": "r-2", "failure": {"code": "no", "message": "No."}}),
    ),
    "asking the customer": (
        Change("payment.action_required", {"reference": "r", "action": {"type": "3ds", "clientSecret": "s"}}),
    ),
    "declined": (
        Change("payment.declined", {"failure": {"code": "card_declined", "message": "No."}}),
        CANCELLED,
        Change("stock.released"),
    ),
    "out of stock": (
        Change("payment.authorized", {"reference": "r"}),
        Change("stock.insufficient", {"shortages": [{"productId": "p", "requested": 2, "available": 0}]}),
        CANCELLED,
        Change("payment.voided"),
    ),
    "deleted": (*CONFIRMED, CANCELLED, Change("order.deleted", {"deletedAt": AT})),
}


def order(*changes: Change) -> dict[str, Any]:
    data = {
        "userId": "u",
        "products": [{"productId": "p", "quantity": 2, "unitPrice": 625}],
        "totalAmount": 1250,
        "currency": "USD",
        "paymentMethod": "sandbox_ok",
        "reference": "r-1",
    }
    personal = Personal(
        salt="s", email="a@example.org", shippingAddress={"city": "Bonn"}, metadata={"gift.wrap": "$yes"}
    )
    order = advance(create(str(ObjectId()), AT, "client", data, personal), AT, "system", changes)
    document: dict[str, Any] = {
        **copy.deepcopy(order),
        "_id": ObjectId(order["id"]),
        "dueBy": AT,
        "attempts": 3,
    }
    document |= {"announced": 1, "idempotency": {"caller": "c", "key": str(ObjectId()), "digest": "0" * 64}}
    if "deletedAt" not in order:
        document["visible"] = True
    del document["id"]
    return document


def _level() -> dict[str, Any]:
    return {"_id": str(ObjectId()), "onHand": 3, "version": 1, "updatedAt": AT}


def _movement() -> dict[str, Any]:
    row = {"_id": ObjectId(), "productId": "p", "quantity": -2, "kind": "decrement", "at": AT}
    return {**row, "orderId": str(ObjectId()), "reason": "damaged"}


def _notification() -> dict[str, Any]:
    order_id = str(ObjectId())
    return {
        "_id": f"{order_id}:1:mail",
        "orderId": order_id,
        "sequence": 1,
        "channel": "mail",
        "type": "order.created",
        "at": AT,
        "attempts": 0,
        "status": "pending",
        "dueBy": AT,
    }


def _payment() -> dict[str, Any]:
    money = {"amount": 1250, "currency": "USD", "captured": 1250, "refunded": 0}
    return {"_id": str(ObjectId()), "status": "captured", "at": AT, "calls": 1, **money}


def _endpoint() -> dict[str, Any]:
    return {
        "_id": ObjectId(),
        "url": "https://example.com/",
        "events": ["order.*"],
        "enabled": False,
        "secrets": [{"secret": "whsec_new"}, {"secret": "whsec_old", "until": AT}],
        "createdAt": AT,
        "updatedAt": AT,
        "disabledReason": "gone",
        "owner": "services",
        "payload": "ids",
        "slot": secrets.randbelow(10**6) + 1,
        "tests": [{"id": "t", "at": AT}],
    }


def _webhook() -> dict[str, Any]:
    return {
        "_id": str(ObjectId()),
        "endpointId": str(ObjectId()),
        "orderId": str(ObjectId()),
        "sequence": 1,
        "type": "order.created",
        "at": AT,
        "status": "pending",
        "attempts": [
            {"at": AT, "milliseconds": 0, "statusCode": 503},
            {"at": AT, "milliseconds": 9, "error": "timeout"},
        ],
        "failures": 2,
        "dueBy": AT,
        "claim": "c",
        "endedAt": AT,
        "reason": "attempts_exhausted",
    }


def _payment_event() -> dict[str, Any]:
    event = {"_id": str(ObjectId()), "type": "payment.captured", "receivedAt": AT}
    return {**event, "attempts": 0, "status": "done"}


def _fed() -> dict[str, Any]:
    return {
        "_id": 1 + int(str(ObjectId())[-12:], 16),
        "orderId": ObjectId(),
        "sequence": 1,
        "type": "order.created",
        "userId": "u",
    }


def _report() -> dict[str, Any]:
    return {
        "_id": ObjectId(),
        "scopes": ["orders"],
        "repair": False,
        "scheduled": True,
        "status": "running",
        "startedAt": AT,
        "checked": {"orders": 1},
        "found": {},
        "repaired": 0,
        "stage": "orders",
    }


def _difference() -> dict[str, Any]:
    return {
        "_id": str(ObjectId()),
        "kind": "log_broken",
        "ids": {"orderId": "o"},
        "expected": "an intact log",
        "found": "a broken one",
        "version": 1,
        "at": AT,
        "stands": True,
        "repaired": False,
    }


RIGHT: dict[str, Callable[[], dict[str, Any]]] = {
    "orders": lambda: order(*CONFIRMED),
    "stock": _level,
    "stock_movements": _movement,
    "notifications": _notification,
    "sandbox_payments": _payment,
    "feed": _fed,
    "mail_counts": lambda: {"_id": str(ObjectId()), "ids": ["o:1:mail"], "until": AT},
    "webhook_endpoints": _endpoint,
    "webhook_deliveries": _webhook,
    "payment_events": _payment_event,
    "stock_loads": lambda: {"_id": ObjectId(), "at": AT, "parts": [b"x"]},
    "feed_cursors": lambda: {"_id": str(ObjectId()), "key": b"x" * 32, "openUntil": 0},
    "purged_orders": lambda: {"_id": ObjectId(), "at": AT},
    "tallies": lambda: {"_id": str(ObjectId()), "orders": {"pending": 1}, "at": AT, "seconds": 0.5},
    "test_clock": lambda: {
        "_id": str(ObjectId()),
        "offset": 960_000,
        "holder": "h",
        "heldUntil": AT,
        "target": AT,
        "since": AT,
        "work": {"w": AT},
    },
    "reconciliations": _report,
    "reconciliation_differences": _difference,
}
