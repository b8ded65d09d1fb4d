"""What MongoDB itself refuses to store: the rules of the domain as JSON schema, whoever writes."""

from typing import Any

from app.domain.order import MOVES, PAYMENT, STATUS, STOCK

Schema = dict[str, Any]

_TEXT: Schema = {"bsonType": "string"}
_NAME: Schema = {"bsonType": "string", "minLength": 1, "maxLength": 128}
_HASH: Schema = {"bsonType": "string", "minLength": 64, "maxLength": 64}
_TIME: Schema = {"bsonType": "date"}
_KEY: Schema = {"bsonType": "objectId"}
_INTEGER: Schema = {"bsonType": ["int", "long"]}
_COUNT: Schema = {**_INTEGER, "minimum": 0}
_ORDINAL: Schema = {**_INTEGER, "minimum": 1}
_TEXTS: Schema = {"bsonType": "object", "additionalProperties": _TEXT}


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
    failure=_TEXTS,
)
_SHORTAGE = _exactly({"productId": _NAME, "requested": _ORDINAL, "available": _COUNT})
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
    personal=_exactly({"salt": _TEXT}, email=_TEXT, shippingAddress=_TEXTS, metadata=_TEXTS),
    tracking=_TEXTS,
    cancellation=_TEXTS,
    deletedAt=_TIME,
    visible=_one_of(True),
    dueBy=_TIME,
    attempts=_COUNT,
    announced=_COUNT,
    idempotency=_exactly({"caller": _TEXT, "key": _TEXT, "digest": _HASH}, answered=_ORDINAL),
)


def _missing(field: str) -> Schema:
    return {"$eq": [{"$type": field}, "missing"]}


# As many events as versions, the last of them the present one; nobody gives back what was not taken; an order
# is listed until it is deleted.
_BOOKS_BALANCE: Schema = {
    "$and": [
        {"$eq": [{"$size": "$events"}, "$version"]},
        {"$eq": [{"$last": "$events.sequence"}, "$version"]},
        {"$lte": ["$publicVersion", "$version"]},
        {"$lte": ["$payment.refundedAmount", "$payment.capturedAmount"]},
        {"$lte": ["$payment.capturedAmount", "$totalAmount"]},
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
_LOAD = _exactly({"_id": _KEY, "at": _TIME, "parts": _list({"bsonType": "binData"})})
_NOTIFICATION = _exactly(
    {
        "_id": _TEXT,
        "orderId": _TEXT,
        "sequence": _ORDINAL,
        "type": _one_of(*MOVES),
        "channel": _TEXT,
        "at": _TIME,
        "attempts": _COUNT,
        "status": _one_of("pending", "sent", "failed"),
    },
    dueBy=_TIME,
    endedAt=_TIME,
    detail=_TEXT,
)
_FED = _exactly({"_id": _ORDINAL, "orderId": _KEY, "sequence": _ORDINAL, "type": _one_of(*MOVES)})
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
)

VALIDATORS: dict[str, Schema] = {
    "orders": {"$jsonSchema": _ORDER, "$expr": _BOOKS_BALANCE},
    "stock": {"$jsonSchema": _LEVEL},
    "stock_movements": {"$jsonSchema": _MOVEMENT},
    "stock_loads": {"$jsonSchema": _LOAD},
    "notifications": {"$jsonSchema": _NOTIFICATION},
    "feed": {"$jsonSchema": _FED},
    "sandbox_payments": {"$jsonSchema": _SANDBOX_PAYMENT},
}
