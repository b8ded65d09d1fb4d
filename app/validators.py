"""The validators of the collections: MongoDB refuses documents that break the rules of the domain."""

from app.mongo.validation import (
    BYTES,
    COUNT,
    COUNTS,
    FLAG,
    HASH,
    INTEGER,
    KEY,
    NAME,
    ORDINAL,
    TEXT,
    TIME,
    Schema,
    always,
    exactly,
    list_of,
    one_of,
    sometimes,
)
from app.orders.events import EVENTS
from app.orders.fields import ORDER
from app.orders.step_errors import CODES
from app.reconciliation.kinds import KINDS
from app.reconciliation.report import SCOPES
from app.reconciliation.report import STATUSES as RECONCILIATION_STATUSES
from app.stock.model import KINDS as MOVEMENTS
from app.webhooks.model import PATTERNS, PAYLOADS, STATUSES, TEST

_EVENT = exactly(
    {
        "sequence": ORDINAL,
        "type": one_of(*EVENTS),
        "at": TIME,
        "actor": TEXT,
        "data": {"bsonType": "object"},
        "hash": HASH,
    }
)
_PERSONAL = [field for field in ORDER if field.personal]
_STATE = [field for field in ORDER if not field.personal and field.name != "id"]
_ORDER = exactly(
    {"_id": KEY, "events": list_of(_EVENT, minItems=1), **always(_STATE)},
    **sometimes(_STATE),
    personal=exactly({"salt": TEXT}, **sometimes(_PERSONAL)),
    emailKey=BYTES,
    erasedAt=TIME,
    visible=one_of(True),
    dueBy=TIME,
    attempts=COUNT,
    lastError=exactly({"step": TEXT, "code": one_of(*CODES), "at": TIME}),
    announced=COUNT,
    carried=ORDINAL,
    origin=exactly({"requestId": TEXT}, traceparent=TEXT),
    idempotency=exactly({"caller": TEXT, "key": TEXT, "digest": HASH}, answered=ORDINAL),
    quote=exactly({"issuer": TEXT, "id": TEXT, "until": TIME}),
    refundKeys=list_of(exactly({"caller": TEXT, "key": TEXT, "digest": HASH, "refund_id": TEXT})),
    commandKeys=list_of(
        exactly({"caller": TEXT, "key": TEXT, "digest": HASH, "version": ORDINAL}, made=TEXT)
    ),
    noteTexts=list_of(exactly({"id": TEXT, "salt": TEXT, "text": TEXT})),
)


def _missing(field: str) -> Schema:
    return {"$eq": [{"$type": field}, "missing"]}


# The total of the succeeded and the pending refunds.
_REFUNDS_ASKED: Schema = {
    "$sum": {
        "$map": {
            "input": {"$ifNull": ["$refunds", []]},
            "in": {"$cond": [{"$eq": ["$$this.status", "failed"]}, 0, "$$this.amount"]},
        }
    }
}

# The log has as many events as the version says, and ends with it. Refunds never exceed the captured money,
# and that never exceeds the total. An order is visible until it is deleted.
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

_LEVEL = exactly(
    {"_id": NAME, "onHand": COUNT, "version": COUNT, "updatedAt": TIME}, came=KEY, waited=KEY, trackedAt=TIME
)
_MOVEMENT = exactly(
    {
        "_id": KEY,
        "productId": NAME,
        "quantity": INTEGER,
        "kind": one_of(*MOVEMENTS),
        "at": TIME,
    },
    orderId=TEXT,
    refundId=TEXT,
    line=ORDINAL,
    cancellationId=TEXT,
    returnId=TEXT,
    receipt=ORDINAL,
    reason=TEXT,
)
_LOAD = exactly({"_id": KEY, "at": TIME, "parts": list_of(BYTES)})
_NOTIFICATION = exactly(
    {
        "_id": TEXT,
        "orderId": TEXT,
        "sequence": ORDINAL,
        "type": one_of(*EVENTS),
        "channel": TEXT,
        "at": TIME,
        "attempts": COUNT,
        "status": one_of("pending", "sent", "failed", "withheld"),
    },
    dueBy=TIME,
    endedAt=TIME,
    detail=TEXT,
)
_MAIL_COUNT = exactly({"_id": TEXT}, ids=list_of(TEXT), until=TIME, key=BYTES)
# A relay of the previous release writes no `userId`.
_FED = exactly({"_id": ORDINAL, "orderId": KEY, "sequence": ORDINAL, "type": one_of(*EVENTS)}, userId=TEXT)
_WEBHOOK_ENDPOINT = exactly(
    {
        "_id": KEY,
        "url": TEXT,
        "events": list_of(one_of(*PATTERNS), minItems=1),
        "enabled": FLAG,
        "secrets": list_of(exactly({"secret": TEXT}, until=TIME), minItems=1),
        "createdAt": TIME,
        "updatedAt": TIME,
    },
    disabledReason=TEXT,
    owner=TEXT,
    payload=one_of(*PAYLOADS),
    slot=ORDINAL,
    tests=list_of(exactly({"id": TEXT, "at": TIME})),
)
_WEBHOOK_DELIVERY = exactly(
    {
        "_id": TEXT,
        "endpointId": TEXT,
        "type": one_of(*EVENTS, TEST),
        "at": TIME,
        "status": one_of(*STATUSES),
        "attempts": list_of(exactly({"at": TIME, "milliseconds": COUNT}, statusCode=ORDINAL, error=TEXT)),
        "failures": COUNT,
    },
    orderId=TEXT,
    sequence=ORDINAL,
    dueBy=TIME,
    claim=TEXT,
    endedAt=TIME,
    reason=TEXT,
)
_PAYMENT_EVENT = exactly(
    {
        "_id": TEXT,
        "type": TEXT,
        "receivedAt": TIME,
        "attempts": COUNT,
        "status": one_of("pending", "done", "ignored", "orphaned"),
    },
    orderId=TEXT,
    reference=TEXT,
    dueBy=TIME,
    endedAt=TIME,
    detail=TEXT,
)
_SANDBOX_PAYMENT = exactly(
    {
        "_id": TEXT,
        "status": one_of("authorized", "declined", "captured", "voided", "refunded"),
        "amount": COUNT,
        "currency": TEXT,
        "captured": COUNT,
        "refunded": COUNT,
        "at": TIME,
    },
    calls=ORDINAL,
    refunds=list_of(exactly({"id": TEXT, "amount": COUNT})),
)

_RECONCILIATION = exactly(
    {
        "_id": KEY,
        "scopes": list_of(one_of(*SCOPES), minItems=1),
        "repair": FLAG,
        "scheduled": FLAG,
        "status": one_of(*RECONCILIATION_STATUSES),
        "startedAt": TIME,
        "checked": COUNTS,
        "found": COUNTS,
        "repaired": COUNT,
        "stage": TEXT,
    },
    place={"bsonType": ["null", "string", "date"]},
    unjudged=COUNT,
    runAgainAfter=TIME,
    since=TIME,
    endedAt=TIME,
    detail=TEXT,
    claim=TEXT,
    claimedUntil=TIME,
)
_DIFFERENCE = exactly(
    {
        "_id": TEXT,
        "kind": one_of(*KINDS),
        "ids": {"bsonType": "object"},
        "expected": TEXT,
        "found": TEXT,
        "version": COUNT,
        "at": TIME,
        "stands": FLAG,
        "repaired": FLAG,
    }
)

# The fields of `work` are names of work under way, each with the time until which it counts.
_TEST_CLOCK = exactly(
    {"_id": TEXT},
    offset=COUNT,
    holder=TEXT,
    heldUntil=TIME,
    target=TIME,
    since=TIME,
    work={"bsonType": "object", "additionalProperties": TIME},
)

_TALLY = exactly({"_id": TEXT, "orders": COUNTS, "at": TIME, "seconds": {"bsonType": "number", "minimum": 0}})

VALIDATORS: dict[str, Schema] = {
    "orders": {"$jsonSchema": _ORDER, "$expr": _BOOKS_BALANCE},
    "stock": {"$jsonSchema": _LEVEL},
    "stock_movements": {"$jsonSchema": _MOVEMENT},
    "stock_loads": {"$jsonSchema": _LOAD},
    "notifications": {"$jsonSchema": _NOTIFICATION},
    "mail_counts": {"$jsonSchema": _MAIL_COUNT},
    "feed": {"$jsonSchema": _FED},
    "feed_cursors": {"$jsonSchema": exactly({"_id": TEXT, "key": BYTES, "openUntil": COUNT})},
    "webhook_endpoints": {"$jsonSchema": _WEBHOOK_ENDPOINT},
    "webhook_deliveries": {"$jsonSchema": _WEBHOOK_DELIVERY},
    "payment_events": {"$jsonSchema": _PAYMENT_EVENT},
    "sandbox_payments": {"$jsonSchema": _SANDBOX_PAYMENT},
    "purged_orders": {"$jsonSchema": exactly({"_id": KEY, "at": TIME})},
    "tallies": {"$jsonSchema": _TALLY},
    "test_clock": {"$jsonSchema": _TEST_CLOCK},
    "reconciliations": {"$jsonSchema": _RECONCILIATION},
    "reconciliation_differences": {"$jsonSchema": _DIFFERENCE},
}
