"""The indexes and validators of the database. `db upgrade` applies them."""

import hashlib
import json
from typing import Any, NamedTuple

from pymongo import IndexModel
from pymongo.database import Database
from pymongo.errors import CollectionInvalid

from app.mongo.database import Document
from app.validators import VALIDATORS


class Index(NamedTuple):
    """The ascending fields of an index, and its options. `only` is the condition of a partial index."""

    fields: tuple[str, ...]
    only: Document | None = None
    unique: bool = False


def _where(field: str) -> Document:
    return {field: {"$exists": True}}


# The list indexes hold the orders of a user, a status and so on, without deleted orders. They sort by id,
# which is the creation time. An index on a rare field (a key, a reference, a due step) holds only documents
# with that field.
_LISTED: Document = {"visible": True}

_HOLDING: Document = {"stockFirst": True, "status": "pending", "stock.status": "decremented"}

INDEXES: dict[str, tuple[Index, ...]] = {
    "orders": (
        Index(("visible", "_id"), only=_LISTED),
        Index(("userId", "_id"), only=_LISTED),
        # `visible` is the first field, so that orders are counted from the index alone.
        Index(("visible", "status", "_id"), only=_LISTED),
        Index(("payment.status", "_id"), only=_LISTED),
        Index(("products.productId", "_id"), only=_LISTED),
        Index(("reference", "_id"), only={**_LISTED, **_where("reference")}),
        Index(("number",), only=_where("number"), unique=True),
        Index(("visible", "updatedAt", "_id"), only=_LISTED),
        Index(("emailKey", "_id"), only={**_LISTED, **_where("emailKey")}),
        Index(("tracking.number", "_id"), only={**_LISTED, **_where("tracking.number")}),
        Index(("shipments.tracking.number", "_id"), only={**_LISTED, **_where("shipments.tracking.number")}),
        # The orders that the previous release stored without a number.
        Index(("number", "_id"), only={"number": None}),
        Index(("idempotency.caller", "idempotency.key"), only=_where("idempotency.key"), unique=True),
        Index(("quote.issuer", "quote.id"), only=_where("quote.id"), unique=True),
        Index(("dueBy", "_id"), only=_where("dueBy")),
        # So a search for orders that expire passes the held ones.
        Index(("holds.code", "releasedAt", "_id"), only={**_LISTED, "status": "pending"}),
        Index(("tags", "_id"), only={**_LISTED, **_where("tags")}),
        # Held orders. The last field tells it from the index of all orders.
        Index(("visible", "_id", "userId"), only={**_LISTED, **_where("holds.code")}),
        Index(("holds.until",), only=_where("holds.until")),
        Index(("holds.blocks", "_id"), only=_where("holds.blocks")),
        Index(("refunds.status", "_id"), only={"refunds.status": "failed"}),
        Index(("deletedAt",), only=_where("deletedAt")),
        # Backorders: by the products that are missing, as a list, and by the end of their time.
        Index(("stock.shortages.productId", "_id"), only={"stock.status": "backordered"}),
        Index(("stock.status", "_id"), only={"stock.status": "backordered"}),
        Index(("backorderUntil",), only={"status": "pending", **_where("backorderUntil")}),
        # Orders that hold stock and wait for their payment.
        Index(("products.productId", "stock.status", "_id"), only=_HOLDING),
    ),
    "stock": (Index(("came",), only=_where("came")),),
    "stock_movements": (
        Index(("productId", "_id")),
        Index(
            ("orderId", "productId", "kind", "refundId", "line", "cancellationId", "returnId", "receipt"),
            only=_where("orderId"),
            unique=True,
        ),
    ),
    "stock_loads": (),
    "notifications": (Index(("dueBy",), only=_where("dueBy")),),
    "mail_counts": (Index(("until",), only=_where("until")),),
    "webhook_endpoints": (Index(("slot",), only=_where("slot"), unique=True),),
    "webhook_deliveries": (
        Index(("endpointId", "status", "_id")),
        Index(("endpointId", "dueBy"), only=_where("dueBy")),
        Index(("endedAt",), only=_where("endedAt")),
        Index(("orderId",), only=_where("orderId")),
    ),
    "payment_events": (
        Index(("dueBy",), only=_where("dueBy")),
        Index(("endedAt",), only=_where("endedAt")),
    ),
    "sandbox_payments": (Index(("at",)),),
    "relay": (),
    "feed": (
        Index(("orderId", "sequence"), unique=True),
        # A page of each kind reads one range per type, and only rows that it shows.
        Index(("userId", "_id")),
        Index(("userId", "type", "_id")),
        Index(("type", "_id")),
    ),
    "feed_cursors": (),
    "purged_orders": (),
    "reconciliations": (Index(("status", "_id")), Index(("endedAt",), only=_where("endedAt"))),
    "reconciliation_differences": (),
    "tallies": (),
    "test_clock": (),
}


def version() -> str:
    """A name for this schema. It changes whenever an index or a validator changes."""
    declared = json.dumps([INDEXES, VALIDATORS], sort_keys=True)
    return f"schema_{hashlib.sha256(declared.encode()).hexdigest()[:12]}"


def apply(database: Database[Document]) -> None:
    """Creates missing collections and indexes, and sets the validators.

    Changes nothing if nothing is missing. It never drops an index.
    """
    for name, indexes in INDEXES.items():
        _validate(database, name, VALIDATORS.get(name, {}))
        if indexes:
            database[name].create_indexes([_model(index) for index in indexes])


def _validate(database: Database[Document], name: str, validator: Document) -> None:
    rules: dict[str, Any] = {"validator": validator, "validationLevel": "strict", "validationAction": "error"}
    try:
        database.create_collection(name, **rules)
    except CollectionInvalid:
        database.command("collMod", name, **rules)


def _model(index: Index) -> IndexModel:
    options: dict[str, Any] = {}
    if index.only:
        options["partialFilterExpression"] = index.only
    if index.unique:
        options["unique"] = True
    return IndexModel(list(index.fields), **options)
