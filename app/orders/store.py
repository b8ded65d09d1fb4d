"""The collection of orders: each document is one order with its log, changed by compare-and-set alone.

Beside the order a document keeps what its journey needs, none of it part of the order or of its log:
`visible` (true until deleted; every list index is partial on it), `idempotency`, `refundKeys`, and what
`due_store` keeps there.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from datetime import datetime
from typing import Any, NamedTuple

from bson import ObjectId
from bson.errors import InvalidBSON
from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from app.clock import id_at
from app.errors import NotAllowed, OrderUnreadable
from app.mongo.batches import update_each
from app.mongo.database import Document, Transaction
from app.mongo.gathering import Gather
from app.mongo.group_commit import GroupCommit
from app.mongo.outages import reports_outages
from app.orders import steps
from app.orders.documents_store import OrderDocuments, decoded, document_of, order_of, raw_orders
from app.orders.fields import MUTABLE
from app.orders.model import Order
from app.orders.query_store import LIVE, OWES_NO_MONEY, OrderQuery, conditions

_WITHOUT_LOG = {"events": 0, "idempotency": 0, "refundKeys": 0}
WITH_TAIL = {"events": {"$slice": -1}, "idempotency": 0, "refundKeys": 0}
# How many orders of a page are read at once: they may be large, and the page may end before its limit. The
# default page takes two reads.
_AT_ONCE = 13


class Idempotency(NamedTuple):
    """The key under which a caller posted an order, the digest of the body it came with, and the version
    that the first answer shows; None while nobody has been answered."""

    caller: str
    key: str
    digest: str
    answered: int | None


class RefundKey(NamedTuple):
    """The key under which a caller asked for a refund, and the digest of the body that it came with."""

    caller: str
    key: str
    digest: str
    refund_id: str


class KeyTaken(Exception):
    """An order with this idempotency key exists already."""


@reports_outages
class Orders:
    """Loads and appends to orders.

    What reads one order raises OrderUnreadable if its document cannot be decoded. What reads many hands such
    an order on as `OrderDocuments.find` says.
    """

    _owner: str | None = None

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["orders"]
        self._documents = OrderDocuments(database)
        self._inserts = GroupCommit(self._collection)
        self._reads = Gather(self._read)

    def of(self, owner: str) -> "Orders":
        """The same orders for one user, to whom those of others are as if they were not there."""
        own = copy(self)
        own._owner = owner
        return own

    def add(self, order: Order, due_by: datetime, idempotency: Idempotency | None) -> None:
        """Stores a new order, durably, in one write. Raises KeyTaken, NotAllowed for another's."""
        if not self._is_ours(order):
            raise NotAllowed("orders:admin")
        document = document_of(order)
        document |= {"visible": True, "dueBy": due_by, "attempts": 0, "announced": 0}
        if idempotency:
            told = idempotency._asdict().items()
            document["idempotency"] = {field: value for field, value in told if value is not None}
        try:
            self._inserts.insert(document)
        except DuplicateKeyError as error:
            if idempotency:
                raise KeyTaken from error
            raise

    def get(self, order_id: str) -> Order | None:
        """The order without its log; None where there is none, or it is deleted."""
        if not ObjectId.is_valid(order_id):
            return None
        try:
            order = self._reads(order_id)
        except OrderUnreadable:
            if self._find(order_id, {"_id": 1}, LIVE):
                raise
            return None
        return order if order and self._is_ours(order) else None

    def with_tail(self, order_id: str, *, deleted: bool = False) -> Order | None:
        """The order with the last event of its log, which is what a change needs.

        `deleted` finds a deleted order, too.
        """
        return self._find(order_id, WITH_TAIL, {} if deleted else LIVE)

    def with_log(self, order_id: str) -> Order | None:
        """The order with its whole log."""
        return self._find(order_id, {}, LIVE)

    def under_key(self, caller: str, key: str) -> tuple[Order, Idempotency] | None:
        """The order posted under the key, with its log, and how it was posted."""
        order: Any = self._documents.find_one({"idempotency.caller": caller, "idempotency.key": key})
        if order is None:
            return None
        return order, Idempotency(**{"answered": None, **order["idempotency"]})

    def fix_answer(self, order_id: str, version: int) -> int:
        """The version that the first answer showed: this one, unless another was fixed before."""
        document = self._collection.find_one_and_update(
            {"_id": ObjectId(order_id), "idempotency.answered": {"$exists": False}},
            {"$set": {"idempotency.answered": version}},
            projection={"_id": 1},
        )
        if document is not None:
            return version
        fixed = self._collection.find_one({"_id": ObjectId(order_id)}, {"idempotency.answered": 1})
        return fixed["idempotency"]["answered"] if fixed else version

    def page(self, query: OrderQuery) -> Iterator[Order]:
        """Up to `limit + 1` orders without their logs, read some at a time, as they are taken.

        The one too many says that there is more.
        """
        if self._owner is not None:
            if query.user_id not in (None, self._owner):
                return
            query = query._replace(user_id=self._owner)
        left = query.limit + 1
        try:
            for document in self._page(self._collection, query, left):
                order = decoded(document)
                left, query = left - 1, query._replace(after=order["id"])
                yield order
        except InvalidBSON:
            yield from map(decoded, self._page(raw_orders(self._collection.database), query, left))

    def load(self, order_ids: Iterable[str], transaction: Transaction | None = None) -> list[Order]:
        """These orders with the tails of their logs, the deleted ones too, since they may owe something."""
        condition = {"_id": {"$in": object_ids(order_ids)}, **self._ours}
        return self._documents.find(condition, WITH_TAIL, session=transaction)

    def load_with_logs(self, order_ids: Iterable[str]) -> list[Order]:
        """These orders with their whole logs, the deleted ones too."""
        condition = {"_id": {"$in": object_ids(order_ids)}, **self._ours}
        return self._documents.find(condition)

    def refund_under_key(self, order_id: str, caller: str, key: str) -> RefundKey | None:
        """How a refund of the order was asked for under the key.

        Read after the order, it holds for the version of the order read before: a change of that fails.
        """
        asked = {"refundKeys": {"$elemMatch": {"caller": caller, "key": key}}}
        document = self._collection.find_one({"_id": ObjectId(order_id)}, asked)
        found = document and document.get("refundKeys")
        return RefundKey(**found[0]) if found else None

    def append(
        self, before: Order, after: Order, due_by: datetime, refund_key: RefundKey | None = None
    ) -> bool:
        """Writes a change if the order is still at the version before; False if another was faster."""
        condition, update = _compare_and_set(before, after, due_by)
        if refund_key:
            update["$push"]["refundKeys"] = refund_key._asdict()
        return self._collection.update_one(condition, update).matched_count == 1

    def append_all(
        self,
        changes: Sequence[tuple[Order, Order]],
        due_by: datetime,
        transaction: Transaction | None = None,
    ) -> list[str]:
        """Writes many changes (before, after) in one round trip.

        Returns the ids of the orders that are not written: another process changed them first, or holds them
        in a transaction. Raises what the database says of an order that it refuses; the others are written.
        """
        if not changes:
            return []
        writes = [UpdateOne(*_compare_and_set(before, after, due_by)) for before, after in changes]
        if self._all_updated(writes, transaction):
            return []
        # A hash covers the order's id, so no other order has it.
        hashes = [after["events"][-1]["hash"] for _, after in changes]
        written = self._collection.find(
            {
                "_id": {"$in": object_ids(after["id"] for _, after in changes)},
                "events.hash": {"$in": hashes},
            },
            {"_id": 1},
            session=transaction,
        )
        won = {str(document["_id"]) for document in written}
        return [after["id"] for _, after in changes if after["id"] not in won]

    def pending_since_before(self, moment: datetime, limit: int, after: str | None = None) -> list[Order]:
        """The orders behind that id still pending though made before the moment, oldest first."""
        made: Document = {"$lt": ObjectId(id_at(moment))}
        if after is not None:
            made["$gt"] = ObjectId(after)
        condition = {**LIVE, "status": "pending", "_id": made}
        return self._documents.find(condition, WITH_TAIL, sort=[("_id", ASCENDING)], limit=limit)

    def deleted_before(self, moment: datetime, limit: int, but: Iterable[str] = ()) -> list[str]:
        """The ids of orders deleted before the moment that owe neither step nor money, but for some ids."""
        condition: Document = {"deletedAt": {"$lt": moment}, "dueBy": {"$exists": False}, **OWES_NO_MONEY}
        if kept := object_ids(but):
            condition["_id"] = {"$nin": kept}
        found = self._collection.find(condition, {"_id": 1})
        return [str(document["_id"]) for document in found.sort("deletedAt").limit(limit)]

    def purge(self, order_ids: Sequence[str]) -> None:
        """Removes the documents for good."""
        self._collection.delete_many({"_id": {"$in": object_ids(order_ids)}, "deletedAt": {"$exists": True}})

    def _all_updated(self, writes: Sequence[UpdateOne], transaction: Transaction | None) -> bool:
        if transaction:
            result = self._collection.bulk_write(writes, ordered=False, session=transaction)
            return result.matched_count == len(writes)
        updated = update_each(self._collection, writes)
        for refusal in updated.refused.values():
            raise refusal
        return updated.found == len(writes)

    def _page(self, orders: Collection[Any], query: OrderQuery, limit: int) -> Iterable[Any]:
        direction = DESCENDING if query.descending else ASCENDING
        found = orders.find(conditions(query), _WITHOUT_LOG, batch_size=_AT_ONCE)
        return found.sort("_id", direction).limit(limit)

    def _read(self, order_ids: Sequence[str]) -> list[Order | OrderUnreadable | None]:
        condition = {"_id": {"$in": list(set(object_ids(order_ids)))}, **LIVE}
        orders: dict[str, Order | OrderUnreadable] = {}
        for found in self._documents.read(condition, _WITHOUT_LOG):
            try:
                order = order_of(found)
                orders[order["id"]] = order
            except OrderUnreadable as unreadable:
                orders[unreadable.order_id] = unreadable
        return [orders.get(order_id.lower()) for order_id in order_ids]

    @property
    def _ours(self) -> Document:
        return {} if self._owner is None else {"userId": self._owner}

    def _is_ours(self, order: Order) -> bool:
        return self._owner in (None, order.get("userId"))

    def _find(self, order_id: str, projection: Document, among: Document) -> Order | None:
        if not ObjectId.is_valid(order_id):
            return None
        condition = {"_id": ObjectId(order_id), **among, **self._ours}
        return self._documents.find_one(condition, projection)


def _compare_and_set(before: Order, after: Order, due_by: datetime) -> tuple[Document, Document]:
    added = [event for event in after["events"] if event["sequence"] > before["version"]]
    fields: Document = {key: after[key] for key in MUTABLE if key in after}  # type: ignore[literal-required]
    update: Document = {"$set": fields, "$push": {"events": {"$each": added}}}
    if steps.due(after):
        fields |= {"dueBy": due_by, "attempts": 0}
    else:
        update["$unset"] = {"dueBy": ""}
    if "deletedAt" in after:
        update.setdefault("$unset", {})["visible"] = ""
    return {"_id": ObjectId(before["id"]), "version": before["version"]}, update


def object_ids(order_ids: Iterable[str]) -> list[ObjectId]:
    return [ObjectId(order_id) for order_id in order_ids]
