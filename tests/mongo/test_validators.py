"""The database itself refuses documents that break the rules, from any writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo.errors import WriteError

from app import schema
from app.mongo.database import connect
from app.validators import VALIDATORS
from tests.support.stored import AT, RIGHT, ROADS, order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.servers import MongoServer

REFUSED = 121
# A field that must not have the value; None: that must not be missing.
WRONG: dict[str, list[tuple[str, Any]]] = {
    "orders": [
        *((field, None) for field in ("userId", "products", "totalAmount", "currency", "status", "payment")),
        *(
            (field, None)
            for field in ("stock", "version", "publicVersion", "createdAt", "updatedAt", "events")
        ),
        ("userId", ""),
        ("userId", "u" * 129),
        ("userId", 7),
        ("products", []),
        ("products.0.quantity", 0),
        ("products.0.quantity", 1.0),
        ("products.0.quantity", "2"),
        ("products.0.unitPrice", -1),
        ("products.0.price", 5),
        ("products.0.productId", ""),
        ("products.0.line", 1),
        ("adjustments", [{"kind": "toll", "amount": 1}]),
        ("adjustments", [{"kind": "fee", "amount": 1.5}]),
        ("adjustments", [{"kind": "fee"}]),
        ("adjustments", [{"kind": "fee", "amount": 1, "line": 0}]),
        ("adjustments", [{"kind": "fee", "amount": 1, "name": ""}]),
        ("adjustments", [{"kind": "fee", "amount": 1, "included": "yes"}]),
        ("adjustments", [{"kind": "fee", "amount": 1, "other": 1}]),
        ("adjustments", [{"kind": "fee", "amount": 1}] * 101),
        ("totalAmount", 12.5),
        ("totalAmount", -1),
        ("currency", "US"),
        ("status", "lost"),
        ("status", None),
        ("payment.status", "paid"),
        ("payment.capturedAmount", 1251),
        ("payment.capturedAmount", None),
        ("payment.refundedAmount", 1251),
        ("payment.method", 1),
        ("stock.status", "gone"),
        ("version", 0),
        ("version", 4),
        ("version", 6),
        ("publicVersion", 6),
        ("createdAt", "2024-10-04T10:00:00.000Z"),
        ("events", []),
        ("events.0.hash", "short"),
        ("events.1.type", "order.lost"),
        ("events.1.at", None),
        ("events.1.data", None),
        ("events.4.sequence", 7),
        ("visible", None),
        ("visible", False),
        ("deletedAt", AT),
        ("dueBy", 5),
        ("attempts", -1),
        ("idempotency.key", None),
        ("idempotency.digest", "d"),
        ("personal.phone", "1"),
        ("id", "x"),
    ],
    "stock": [
        ("onHand", -1),
        ("onHand", 1.5),
        ("onHand", None),
        ("version", None),
        ("updatedAt", None),
        ("reserved", 1),
    ],
    "stock_movements": [
        ("kind", "theft"),
        ("quantity", 0.5),
        ("quantity", None),
        ("productId", None),
        ("at", 1),
    ],
    "notifications": [
        ("status", "lost"),
        ("sequence", 0),
        ("attempts", -1),
        ("channel", None),
        ("to", "a@b.c"),
    ],
    "mail_counts": [("ids", "x"), ("ids.0", 1), ("until", 1), ("key", "k"), ("email", "a@b.c")],
    "sandbox_payments": [("status", "pending"), ("captured", -1), ("amount", 1.5), ("currency", None)],
    "webhook_endpoints": [
        ("url", None),
        ("events", []),
        ("events.0", "stock.*"),
        ("secrets", []),
        ("secrets.0.secret", None),
        ("enabled", "yes"),
        ("createdAt", None),
        ("slot", 0),
        ("payload", "some"),
        ("tests.0.at", None),
        ("body", "x"),
    ],
    "webhook_deliveries": [
        ("endpointId", None),
        ("status", "lost"),
        ("type", "order.lost"),
        ("sequence", 0),
        ("failures", -1),
        ("attempts.0.milliseconds", None),
        ("attempts.0.body", "x"),
        ("endedAt", "now"),
        ("body", "x"),
    ],
    "feed_cursors": [("key", None), ("key", "text"), ("openUntil", -1), ("more", 1)],
    "feed": [("orderId", "x"), ("orderId", None), ("sequence", 0), ("type", "order.lost"), ("order", {})],
    "payment_events": [("type", None), ("receivedAt", "now"), ("status", "lost"), ("body", "x")],
    "stock_loads": [("parts", "x"), ("parts.0", 1), ("at", None)],
    "purged_orders": [("at", None), ("at", "now"), ("order", {})],
    "test_clock": [("offset", -1), ("heldUntil", "soon"), ("work", {"w": 1}), ("target", 1)],
    "tallies": [("orders", None), ("orders.pending", -1), ("seconds", -1), ("at", None)],
    "reconciliations": [
        ("scopes", []),
        ("scopes.0", "weather"),
        ("status", "lost"),
        ("startedAt", None),
        ("checked.orders", -1),
        ("repaired", -1),
        ("body", "x"),
    ],
    "reconciliation_differences": [("kind", "lost"), ("ids", None), ("repaired", "yes"), ("order", {})],
}


@pytest.fixture(scope="module")
def validated(mongo_server: MongoServer) -> Iterator[Any]:
    """A database with its validators."""
    database = connect(mongo_server.uri(f"validators_{ObjectId()}"))
    schema.apply(database)
    yield database
    database.client.drop_database(database.name)
    database.client.close()


def test_every_collection_with_a_validator_is_tried() -> None:
    """So that none is added without a case here."""
    assert VALIDATORS.keys() == RIGHT.keys() == WRONG.keys()


@pytest.mark.parametrize("road", ROADS)
def test_an_order_in_any_state_is_stored(validated: Any, road: str) -> None:
    """With every optional field."""
    validated["orders"].insert_one(order(*ROADS[road]))


@pytest.mark.parametrize("collection", RIGHT)
def test_a_valid_document_is_stored(validated: Any, collection: str) -> None:
    """Else what is refused below would prove nothing."""
    validated[collection].insert_one(RIGHT[collection]())


@pytest.mark.parametrize(
    ("collection", "field", "value"),
    [(collection, field, value) for collection, wrong in WRONG.items() for field, value in wrong],
)
def test_an_invalid_document_is_refused(validated: Any, collection: str, field: str, value: Any) -> None:
    """As a new document and as a change of one alike."""
    stored = RIGHT[collection]()
    validated[collection].insert_one(stored)
    change = {"$unset": {field: ""}} if value is None else {"$set": {field: value}}
    with pytest.raises(WriteError) as change_refused:
        validated[collection].update_one({"_id": stored["_id"]}, change)
    wrong = _with(RIGHT[collection](), field, value)
    with pytest.raises(WriteError) as insert_refused:
        validated[collection].insert_one(wrong)
    assert (change_refused.value.code, insert_refused.value.code) == (REFUSED, REFUSED)


def _with(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    place: Any = document
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    if isinstance(place, list):
        place[int(last)] = value
    elif value is None:
        del place[last]
    else:
        place[last] = value
    return document
