"""What MongoDB itself refuses to store: the rules of the domain as JSON schema, whoever writes."""

from typing import Any

from app.orders.model import MOVES, PAYMENT, STATUS, STOCK
from app.orders.refunds import REFUND
from app.reconciliation.kinds import KINDS, SCOPES
from app.reconciliation.kinds import STATUSES as RECONCILIATION_STATUSES
from app.webhooks.model import PATTERNS, PAYLOADS, TEST

Schema = dict[str, Any]

_TEXT: Schema = {"bsonType": "string"}
_NAME: Schema = {"bsonType": "string", "minLength": 1, "maxLength": 128}
_HASH: Schema = {"bsonType": "string", "minLength": 64, "maxLength": 64}
_TIME: Schema = {"bsonType": "date"}
_KEY: Schema = {"bsonType": "objectId"}
_INTEGER: Schema = {"bsonType": ["int", "long"]}
_COUNT: Schema = {**_INTEGER, "minimum": 0}
_ORDINAL: Schema = {**_INTEGER, "minimum": 1}
_COUNTS: Schema = {"bsonType": "object", "additionalProperties": _COUNT}
_TEXTS: Schema = {"bsonType": "object", "additionalProperties": _TEXT}
_BYTES: Schema = {"bsonType": "binData"}


def _one_of(*values: object) -> Schema:
    return {"enum": list(values)}


def _list(items: Schema, **bounds: int) -> Schema:
    return {"bsonType": "array", "items": items, **bounds}


def _exactly(required: dict[str, Schema], **optional: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "bsonType": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


_LINE = _exactly({"productId": _NAME, "quantity": _ORDINAL}, unitPrice=_COUNT)
_EVENT = _exactly(
    {
        "sequence": _ORDINAL,
        "type": _one_of(*MOVES),
        "at": _TIME,
        "actor": _TEXT,
        "data": {"bsonType": "object"},
        "hash": _HASH,
    }
)
_PAYMENT = _exactly(
    {"status": _one_of(*PAYMENT), "capturedAmount": _COUNT, "refundedAmount": _COUNT},
    method=_TEXT,
    reference=_TEXT,
    action=_TEXTS,
    failure=_TEXTS,
)
_REFUND = _exactly(
    {
        "id": _TEXT,
        "status": _one_of(*REFUND),
        "amount": _COUNT,
        "attempt": _ORDINAL,
        "createdAt": _TIME,
        "updatedAt": _TIME,
    },
    reason=_TEXT,
    products=_list(
        _exactly({"productId": _NAME, "quantity": _ORDINAL, "restock": {"bsonType": "bool"}}), minItems=1
    ),
    failure=_TEXTS,
    restocked=_one_of(True),
)
_SHORTAGE = _exactly({"productId": _NAME, "requested": _ORDINAL, "available": _COUNT})
# See `order_documents` for the two forms.
_PAIRS: Schema = {"anyOf": [_TEXTS, _list(_exactly({"name": _TEXT, "value": _TEXT}), maxItems=20)]}
_ORDER = _exactly(
    {
        "_id": _KEY,
        "userId": _NAME,
        "products": _list(_LINE, minItems=1),
        "totalAmount": _COUNT,
        "currency": {"bsonType": "string", "minLength": 3, "maxLength": 3},
        "status": _one_of(*STATUS),
        "payment": _PAYMENT,
        "stock": _exactly({"status": _one_of(*STOCK)}, shortages=_list(_SHORTAGE)),
        "version": _ORDINAL,
        "publicVersion": _ORDINAL,
        "createdAt": _TIME,
        "updatedAt": _TIME,
        "events": _list(_EVENT, minItems=1),
    },
    reference=_NAME,
    personal=_exactly({"salt": _TEXT}, email=_TEXT, shippingAddress=_TEXTS, metadata=_PAIRS),
    refunds=_list(_REFUND),
    tracking=_TEXTS,
    cancellation=_TEXTS,
    deletedAt=_TIME,
    erasedAt=_TIME,
    visible=_one_of(True),
    dueBy=_TIME,
    attempts=_COUNT,
    announced=_COUNT,
    origin=_exactly({"requestId": _TEXT}, traceparent=_TEXT),
    idempotency=_exactly({"caller": _TEXT, "key": _TEXT, "digest": _HASH}, answered=_ORDINAL),
    refundKeys=_list(_exactly({"caller": _TEXT, "key": _TEXT, "digest": _HASH, "refund_id": _TEXT})),
)


def _missing(field: str) -> Schema:
    return {"$eq": [{"$type": field}, "missing"]}


# What is given back or is still to be, by the refunds.
_REFUNDS_ASKED: Schema = {
    "$sum": {
        "$map": {
            "input": {"$ifNull": ["$refunds", []]},
            "in": {"$cond": [{"$eq": ["$$this.status", "failed"]}, 0, "$$this.amount"]},
        }
    }
}

# As many events as versions, the last of them the present one; nobody gives back what was not taken; an order
# is listed until it is deleted.
_BOOKS_BALANCE: Schema = {
    "$and": [
        {"$eq": [{"$size": "$events"}, "$version"]},
        {"$eq": [{"$last": "$events.sequence"}, "$version"]},
        {"$lte": ["$publicVersion", "$version"]},
        {"$lte": ["$payment.refundedAmount", "$payment.capturedAmount"]},
        {"$lte": ["$payment.capturedAmount", "$totalAmount"]},
        {"$lte": [_REFUNDS_ASKED, "$payment.capturedAmount"]},
        {"$ne": [_missing("$visible"), _missing("$deletedAt")]},
    ]
}

_LEVEL = _exactly({"_id": _NAME, "onHand": _COUNT, "version": _COUNT, "updatedAt": _TIME})
_MOVEMENT = _exactly(
    {
        "_id": _KEY,
        "productId": _NAME,
        "quantity": _INTEGER,
        "kind": _one_of("decrement", "restock", "adjustment"),
        "at": _TIME,
    },
    orderId=_TEXT,
    refundId=_TEXT,
    reason=_TEXT,
)
_LOAD = _exactly({"_id": _KEY, "at": _TIME, "parts": _list(_BYTES)})
_NOTIFICATION = _exactly(
    {
        "_id": _TEXT,
        "orderId": _TEXT,
        "sequence": _ORDINAL,
        "type": _one_of(*MOVES),
        "channel": _TEXT,
        "at": _TIME,
        "attempts": _COUNT,
        "status": _one_of("pending", "sent", "failed", "withheld"),
    },
    dueBy=_TIME,
    endedAt=_TIME,
    detail=_TEXT,
)
_MAIL_COUNT = _exactly({"_id": _TEXT}, ids=_list(_TEXT), until=_TIME, key=_BYTES)
# A relay of the release before writes no `userId`.
_FED = _exactly(
    {"_id": _ORDINAL, "orderId": _KEY, "sequence": _ORDINAL, "type": _one_of(*MOVES)}, userId=_TEXT
)
_WEBHOOK_ENDPOINT = _exactly(
    {
        "_id": _KEY,
        "url": _TEXT,
        "events": _list(_one_of(*PATTERNS), minItems=1),
        "enabled": {"bsonType": "bool"},
        "secrets": _list(_exactly({"secret": _TEXT}, until=_TIME), minItems=1),
        "createdAt": _TIME,
        "updatedAt": _TIME,
    },
    disabledReason=_TEXT,
    owner=_TEXT,
    payload=_one_of(*PAYLOADS),
    slot=_ORDINAL,
    tests=_list(_exactly({"id": _TEXT, "at": _TIME})),
)
_WEBHOOK_DELIVERY = _exactly(
    {
        "_id": _TEXT,
        "endpointId": _TEXT,
        "type": _one_of(*MOVES, TEST),
        "at": _TIME,
        "status": _one_of("pending", "delivered", "failed"),
        "attempts": _list(_exactly({"at": _TIME, "milliseconds": _COUNT}, statusCode=_ORDINAL, error=_TEXT)),
        "failures": _COUNT,
    },
    orderId=_TEXT,
    sequence=_ORDINAL,
    dueBy=_TIME,
    claim=_TEXT,
    endedAt=_TIME,
    reason=_TEXT,
)
_PAYMENT_EVENT = _exactly(
    {
        "_id": _TEXT,
        "type": _TEXT,
        "receivedAt": _TIME,
        "attempts": _COUNT,
        "status": _one_of("pending", "done", "ignored", "orphaned"),
    },
    orderId=_TEXT,
    reference=_TEXT,
    dueBy=_TIME,
    endedAt=_TIME,
    detail=_TEXT,
)
_SANDBOX_PAYMENT = _exactly(
    {
        "_id": _TEXT,
        "status": _one_of("authorized", "declined", "captured", "voided", "refunded"),
        "amount": _COUNT,
        "currency": _TEXT,
        "captured": _COUNT,
        "refunded": _COUNT,
        "at": _TIME,
    },
    calls=_ORDINAL,
    refunds=_list(_exactly({"id": _TEXT, "amount": _COUNT})),
)

_RECONCILIATION = _exactly(
    {
        "_id": _KEY,
        "scopes": _list(_one_of(*SCOPES), minItems=1),
        "repair": {"bsonType": "bool"},
        "scheduled": {"bsonType": "bool"},
        "status": _one_of(*RECONCILIATION_STATUSES),
        "startedAt": _TIME,
        "checked": _COUNTS,
        "found": _COUNTS,
        "repaired": _COUNT,
        "stage": _TEXT,
    },
    place={"bsonType": ["null", "string", "date"]},
    unjudged=_COUNT,
    runAgainAfter=_TIME,
    since=_TIME,
    endedAt=_TIME,
    detail=_TEXT,
    claim=_TEXT,
    claimedUntil=_TIME,
)
_DIFFERENCE = _exactly(
    {
        "_id": _TEXT,
        "kind": _one_of(*KINDS),
        "ids": {"bsonType": "object"},
        "expected": _TEXT,
        "found": _TEXT,
        "version": _COUNT,
        "at": _TIME,
        "stands": {"bsonType": "bool"},
        "repaired": {"bsonType": "bool"},
    }
)

_TALLY = _exactly(
    {"_id": _TEXT, "orders": _COUNTS, "at": _TIME, "seconds": {"bsonType": "number", "minimum": 0}}
)

VALIDATORS: dict[str, Schema] = {
    "orders": {"$jsonSchema": _ORDER, "$expr": _BOOKS_BALANCE},
    "stock": {"$jsonSchema": _LEVEL},
    "stock_movements": {"$jsonSchema": _MOVEMENT},
    "stock_loads": {"$jsonSchema": _LOAD},
    "notifications": {"$jsonSchema": _NOTIFICATION},
    "mail_counts": {"$jsonSchema": _MAIL_COUNT},
    "feed": {"$jsonSchema": _FED},
    "feed_cursors": {"$jsonSchema": _exactly({"_id": _TEXT, "key": _BYTES, "openUntil": _COUNT})},
    "webhook_endpoints": {"$jsonSchema": _WEBHOOK_ENDPOINT},
    "webhook_deliveries": {"$jsonSchema": _WEBHOOK_DELIVERY},
    "payment_events": {"$jsonSchema": _PAYMENT_EVENT},
    "sandbox_payments": {"$jsonSchema": _SANDBOX_PAYMENT},
    "purged_orders": {"$jsonSchema": _exactly({"_id": _KEY, "at": _TIME})},
    "tallies": {"$jsonSchema": _TALLY},
    "reconciliations": {"$jsonSchema": _RECONCILIATION},
    "reconciliation_differences": {"$jsonSchema": _DIFFERENCE},
}
