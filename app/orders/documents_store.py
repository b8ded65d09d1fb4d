"""An order as a document and back: the one place where the two forms meet.

MongoDB gives names that begin with `$` a meaning: the driver reads `{"$ref": …, "$id": …}` back as a
reference. So a map whose names a client chooses is stored as it is only if no name begins with `$`. Otherwise
it is stored as a list of `{name, value}` pairs.

Orders are read many at once. If one of them cannot be decoded, they are read again, raw, and decoded one by
one, so that it spoils no batch.
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.collection import Collection
    from pymongo.database import Database

    from app.mongo.database import Document, Transaction
    from app.orders.model import Order

log = structlog.get_logger(__name__)

STRICT: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)
# Reads the plain fields of any document, so that the id of a damaged one is known.
_LENIENT: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument,
    tz_aware=True,
    tzinfo=UTC,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
# What is kept of an order that cannot be decoded: whose it is, and where it stands in the list of due work.
_KEPT = ("userId", "dueBy")


@reports_outages
class OrderDocuments:
    """Reads orders."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def find(self, condition: Document, projection: Document | None = None, **how: Any) -> list[Order]:
        """The orders that the condition asks for; `how` as in `read`.

        One that cannot be decoded comes as its id, its owner and its due time alone. So it fails as any order
        without its parts does, and for itself only.
        """
        return [decoded(document) for document in self.read(condition, projection, **how)]

    def find_one(self, condition: Document, projection: Document | None = None) -> Order | None:
        """The order that the condition asks for. Raises OrderUnreadable."""
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
        """The documents as they are, for `order_of`."""

        def read(orders: Collection[Any]) -> list[Any]:
            found = orders.find(condition, projection, session=session)
            return list((found.sort(sort) if sort else found).limit(limit))

        try:
            return read(self._database["orders"])
        except InvalidBSON:
            return read(raw_orders(self._database))


def raw_orders(database: Database[Document]) -> Collection[RawBSONDocument]:
    """The collection of orders, whose documents are not decoded."""
    orders: Any = database.get_collection("orders", codec_options=_LENIENT)
    return orders


def document_of(order: Order) -> Document:
    """The order as it is stored."""
    document = to_document(order, ObjectId)
    metadata = order.get("personal", {}).get("metadata", {})
    if any(name.startswith("$") for name in metadata):
        pairs = [{"name": name, "value": value} for name, value in metadata.items()]
        document["personal"] = {**order["personal"], "metadata": pairs}
    return document


def order_of(found: Document | RawBSONDocument) -> Order:
    """The order in a document. Raises OrderUnreadable, and logs why, where it cannot be decoded."""
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
    return to_record(document)


def decoded(found: Document | RawBSONDocument) -> Order:
    """The order in a document, or what `OrderDocuments.find` makes of one that cannot be decoded."""
    try:
        return order_of(found)
    except OrderUnreadable as unreadable:
        rest = {name: found[name] for name in _KEPT if name in found}
        return {"id": unreadable.order_id, **rest}  # type: ignore[typeddict-item]


def _metadata(stored: Any) -> dict[str, str]:
    if isinstance(stored, list):
        return {pair["name"]: pair["value"] for pair in stored}
    # The release before stores every map as it comes, and its web processes go on during an upgrade.
    if isinstance(stored, DBRef):
        return {name: value for name, value in stored.as_doc().items() if value is not None}
    return stored
