"""Converts orders to documents and back. No other module knows both forms.

Names that begin with `$` have a meaning in MongoDB: the driver reads `{"$ref": …, "$id": …}` back as a
reference. So a map with names from clients is stored as it is only if no name begins with `$`. Otherwise it
is stored as a list of `{name, value}` pairs.

Orders are read in batches. If one order of a batch cannot be decoded, the batch is read again as raw
documents, and each is decoded on its own. So a damaged order does not affect the others.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import bson
import structlog
from bson import CodecOptions, DBRef, ObjectId
from bson.codec_options import DatetimeConversion
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from app.errors import OrderUnreadable
from app.mongo.documents import to_document, to_record
from app.mongo.outages import reports_outages
from app.orders import steps
from app.orders.fields import MUTABLE
from app.orders.numbers import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pymongo.collection import Collection
    from pymongo.database import Database

    from app.mongo.database import Document, Transaction
    from app.orders.model import Order, Personal

log = structlog.get_logger(__name__)

STRICT: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)
# Reads the simple fields of any document, so that the id of a damaged order is known.
LENIENT: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument,
    tz_aware=True,
    tzinfo=UTC,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
# The fields that are kept of an order that cannot be decoded: its owner, and its deadline in the due work.
_KEPT = ("userId", "dueBy")


@reports_outages
class OrderDocuments:
    """Reads orders from their collection."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def find(self, condition: Document, projection: Document | None = None, **how: Any) -> list[Order]:
        """The orders that match the condition; `how` is as in `read`.

        An order that cannot be decoded has only its id, its owner and its deadline. So it fails later like
        any order with missing fields, and only itself.
        """
        return [decoded(document) for document in self.read(condition, projection, **how)]

    def find_one(self, condition: Document, projection: Document | None = None) -> Order | None:
        """The order that matches the condition. Raises OrderUnreadable."""
        found = self.read(condition, projection, limit=1)
        return order_of(found[0]) if found else None

    def read(
        self,
        condition: Document,
        projection: Document | None = None,
        *,
        sort: Sequence[tuple[str, int]] = (),
        limit: int = 0,
        session: Transaction | None = None,
    ) -> list[Document | RawBSONDocument]:
        """The matching documents, for `order_of`."""

        def read(orders: Collection[Any]) -> list[Any]:
            found = orders.find(condition, projection, session=session)
            return list((found.sort(sort) if sort else found).limit(limit))

        try:
            return read(self._database["orders"])
        except InvalidBSON:
            return read(raw_orders(self._database))


def raw_orders(database: Database[Document]) -> Collection[RawBSONDocument]:
    """The collection of orders, with documents that are not decoded."""
    orders: Any = database.get_collection("orders", codec_options=LENIENT)
    return orders


def document_of(order: Order) -> Document:
    """The order as it is stored."""
    document = to_document(order, ObjectId)
    if "personal" in order:
        document["personal"] = _personal(order["personal"])
    return document


def compare_and_set(before: Order, after: Order, due_by: datetime) -> tuple[Document, Document]:
    """The condition and the update that write a change of an order.

    New personal data are written only if the old ones are still there: an erasure does not move the version.
    """
    stored = before.get("storedVersion", before["version"])
    added = [event for event in after["events"] if event["sequence"] > stored]
    fields: Document = {key: after[key] for key in MUTABLE if key in after}  # type: ignore[literal-required]
    gone = dict.fromkeys((key for key in MUTABLE if key in before and key not in after), "")
    condition: Document = {"_id": ObjectId(before["id"]), "version": stored}
    update: Document = {"$set": fields, "$unset": gone, "$push": {"events": {"$each": added}}}
    if "personal" in after and after["personal"] is not (old := before.get("personal")):
        condition["personal.salt"] = old["salt"] if old else {"$exists": False}
        fields["personal"] = _personal(after["personal"])
    if after.get("carried") == after["version"]:
        fields["carried"] = after["version"]
    if "unmarked" in before:
        update["$max"] = {"announced": before["announced"]}
    if steps.due(after):
        fields |= {"dueBy": due_by, "attempts": 0}
    else:
        gone["dueBy"] = ""
    if "lastError" in before:
        gone["lastError"] = ""
    if "deletedAt" in after:
        gone["visible"] = ""
    if not gone:
        del update["$unset"]
    return condition, update


def order_of(found: Document | RawBSONDocument) -> Order:
    """The order in a document. If it cannot be decoded, logs the reason and raises OrderUnreadable."""
    document: Any = found
    try:
        if isinstance(found, RawBSONDocument):
            document = bson.decode(found.raw, STRICT)
        personal = document.get("personal", {})
        if "metadata" in personal:
            personal["metadata"] = _metadata(personal["metadata"])
    except Exception as error:
        order_id = str(found["_id"])
        log.exception("order cannot be decoded", order_id=order_id)
        raise OrderUnreadable(order_id) from error
    document.setdefault("events", [])
    if "number" not in document:
        # The previous release stored it. It gets this number soon, unless another order has it.
        document["number"] = number_of(str(document["_id"]))
    return to_record(document)


def decoded(found: Document | RawBSONDocument) -> Order:
    """The order in a document. If it cannot be decoded, the result is as in `OrderDocuments.find`."""
    try:
        return order_of(found)
    except OrderUnreadable as unreadable:
        rest = {name: found[name] for name in _KEPT if name in found}
        return {"id": unreadable.order_id, **rest}  # type: ignore[typeddict-item]


def _personal(personal: Personal) -> Document:
    """The personal data as they are stored."""
    metadata = personal.get("metadata", {})
    if not any(name.startswith("$") for name in metadata):
        return {**personal}
    return {**personal, "metadata": [{"name": name, "value": value} for name, value in metadata.items()]}


def _metadata(stored: Any) -> dict[str, str]:
    if isinstance(stored, list):
        return {pair["name"]: pair["value"] for pair in stored}
    # The previous release stores every map as it is, and its web processes keep running during an upgrade.
    if isinstance(stored, DBRef):
        return {name: value for name, value in stored.as_doc().items() if value is not None}
    return stored
