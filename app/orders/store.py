"""The collection of orders: each document is one order with its log, and changes only by compare-and-set.

A document also has fields that are not part of the order or its log: `visible` (true until the order is
deleted; every list index is partial on it), `idempotency`, `quote`, `refundKeys`, `commandKeys`,
`noteTexts`, and the fields of `due_store`.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from bson import ObjectId
from bson.errors import InvalidBSON
from pymongo import ASCENDING, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from app.clock import id_at
from app.errors import Fault, InvalidInput, NotAllowed, OrderUnreadable
from app.mongo.batches import update_each, update_unlocked
from app.mongo.database import Document, Transaction
from app.mongo.gathering import Gather
from app.mongo.group_commit import GroupCommit
from app.mongo.outages import reports_outages
from app.orders.beside_store import (
    NOTHING,
    Beside,
    Idempotency,
    QuoteUse,
    RefundKey,
    add,
)
from app.orders.documents_store import (
    OrderDocuments,
    compare_and_set,
    decoded,
    document_of,
    order_of,
    raw_orders,
)
from app.orders.model import Order
from app.orders.numbers import parse
from app.orders.personal_index import PersonalIndex
from app.orders.query_store import LIVE, OWES_NO_MONEY, OrderQuery, conditions
from app.orders.reading import reading
from app.orders.shortages import NOT_TAKEN

_WITH_NOTES = {"events": 0, "emailKey": 0, "idempotency": 0, "quote": 0, "refundKeys": 0, "commandKeys": 0}
_WITHOUT_LOG = {**_WITH_NOTES, "noteTexts": 0}
WITH_TAIL = {**_WITHOUT_LOG, "events": {"$slice": -1}}
# How many orders of a page are read at once. Orders can be large, and a page can end before its limit. The
# default page takes two reads.
_AT_ONCE = 13


class QuoteTaken(Exception):
    """Another order has used the quote."""


class KeyTaken(Exception):
    """An order with this idempotency key already exists."""


class NumberTaken(Exception):
    """Another order has the number that the id of this one gives."""


@reports_outages
class Orders:
    """Loads orders and appends to them.

    Methods that read one order raise OrderUnreadable if its document cannot be decoded. Methods that read
    many return such an order as `OrderDocuments.find` does.
    """

    def __init__(
        self,
        database: Database[Document],
        personal_index: PersonalIndex | None = None,
        owner: str | None = None,
        batches: "_Batches | None" = None,
    ) -> None:
        self._database = database
        self._index = personal_index or PersonalIndex()
        self._owner = owner
        self._batches = batches or _Batches(database)
        self._documents = OrderDocuments(database)

    def of(self, owner: str) -> "Orders":
        """The same store, limited to the orders of one user."""
        return Orders(self._database, self._index, owner, self._batches)

    def add(
        self,
        order: Order,
        due_by: datetime,
        idempotency: Idempotency | None,
        quote: QuoteUse | None = None,
    ) -> None:
        """Stores a new order in one durable write, which also uses its quote.

        Raises KeyTaken, NumberTaken, QuoteTaken, NotAllowed for another user's order.
        """
        if not self._is_ours(order):
            raise NotAllowed("orders:admin")
        document = document_of(order)
        if key := self._index.key_of(order.get("personal")):
            document["emailKey"] = key
        document |= {"visible": True, "dueBy": due_by, "attempts": 0, "announced": 0}
        if idempotency:
            fields = idempotency._asdict().items()
            document["idempotency"] = {field: value for field, value in fields if value is not None}
        if quote:
            document["quote"] = quote._asdict()
        try:
            self._batches.inserts.insert(document)
        except DuplicateKeyError as error:
            taken = (error.details or {}).get("keyPattern", {})
            if "number" in taken:
                raise NumberTaken from error
            if "quote.id" in taken:
                raise QuoteTaken from error
            if idempotency:
                raise KeyTaken from error
            raise

    def get(self, order_id: str) -> Order | None:
        """The order without its log; None if it does not exist or is deleted."""
        if not ObjectId.is_valid(order_id):
            return None
        try:
            order = self._batches.reads(order_id)
        except OrderUnreadable:
            if self._find(order_id, {"_id": 1}, LIVE):
                raise
            return None
        return order if order and self._is_ours(order) else None

    def with_tail(self, order_id: str, *, deleted: bool = False) -> Order | None:
        """The order with the last event of its log, which a change needs. `deleted` also finds deleted
        orders."""
        return self._find(order_id, WITH_TAIL, {} if deleted else LIVE)

    def with_log(self, order_id: str) -> Order | None:
        """The order with its whole log; None if it does not exist or is deleted."""
        return self._find(order_id, {}, LIVE)

    def under_key(self, caller: str, key: str) -> tuple[Order, Idempotency] | None:
        """The order that was posted with the key, with its log, and the stored data of its key."""
        order: Any = self._documents.find_one({"idempotency.caller": caller, "idempotency.key": key})
        if order is None:
            return None
        with reading(order["id"]):
            return order, Idempotency(**{"answered": None, **order["idempotency"]})

    def is_used(self, quote: QuoteUse) -> bool:
        """Whether an order has used the quote."""
        use = {"quote.issuer": quote.issuer, "quote.id": quote.id}
        return self._collection.find_one(use, {"_id": 1}) is not None

    def fix_answer(self, order_id: str, version: int) -> int:
        """Fixes the version in the first answer, unless it is fixed already. Returns the fixed version."""
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
        """Up to `limit + 1` orders without their logs, read lazily. The extra order shows that another page
        follows. Raises InvalidInput if orders have no key by email."""
        if query.email is not None and not self._index:
            raise InvalidInput(Fault("/email", "needs PERSONAL_INDEX_KEY, which is not set"))
        if self._owner is not None:
            if query.user_id not in (None, self._owner):
                return
            query = query._replace(user_id=self._owner)
        left = query.limit + 1
        try:
            for order in self._page(self._collection, query, left):
                left -= 1
                query = query._replace(after=order["id"], after_update=order.get("updatedAt"))
                yield order
        except InvalidBSON:
            yield from self._page(raw_orders(self._database), query, left)

    def count(self, query: OrderQuery) -> int:
        """The number of orders that match the query, whatever its limit."""
        number = parse(query.anything or "")
        return self._collection.count_documents(
            conditions(query, self._index, self.id_of(number) if number else None)
        )

    def load(self, order_ids: Iterable[str], transaction: Transaction | None = None) -> list[Order]:
        """These orders with the last events of their logs. Includes deleted orders, which can have due
        steps."""
        condition = {"_id": {"$in": object_ids(order_ids)}, **self._ours}
        return self._documents.find(condition, WITH_TAIL, session=transaction)

    def load_with_logs(self, order_ids: Iterable[str]) -> list[Order]:
        """These orders with their whole logs, including deleted orders."""
        condition = {"_id": {"$in": object_ids(order_ids)}, **self._ours}
        return self._documents.find(condition)

    def id_of(self, number: str) -> str | None:
        """The id of the order with this number, even if it is deleted."""
        found = self._collection.find_one({"number": number, **self._ours}, {"_id": 1})
        return str(found["_id"]) if found else None

    def refund_under_key(self, order_id: str, caller: str, key: str) -> RefundKey | None:
        """The refund request of the order with this key, if there was one.

        Read the order first. If another call uses the key after that, the compare-and-set of the order fails.
        """
        asked = {"refundKeys": {"$elemMatch": {"caller": caller, "key": key}}}
        document = self._collection.find_one({"_id": ObjectId(order_id)}, asked)
        found = document and document.get("refundKeys")
        return RefundKey(**found[0]) if found else None

    def with_notes(self, order_id: str) -> Order | None:
        """The order without its log, but with the texts of its notes."""
        return self._find(order_id, _WITH_NOTES, LIVE)

    def append(
        self,
        before: Order,
        after: Order,
        due_by: datetime,
        beside: Beside = NOTHING,
    ) -> bool:
        """Writes a change if the order still has the version of `before`. False if another process was
        faster."""
        condition, update = self._compare_and_set(before, after, due_by)
        add(beside, condition, update)
        return self._collection.update_one(condition, update).matched_count == 1

    def append_all(
        self,
        changes: Sequence[tuple[Order, Order]],
        due_by: datetime,
        transaction: Transaction | None = None,
        *,
        amid_locks: bool = False,
    ) -> list[str]:
        """Writes many changes (before, after) in one round trip.

        Returns the ids of orders that were not written: another process changed them first, or has them
        locked in a transaction. If the database refuses an order, raises its error after writing the others.
        `amid_locks` is as in DueWork.
        """
        if not changes:
            return []
        writes = [UpdateOne(*self._compare_and_set(before, after, due_by)) for before, after in changes]
        if self._all_updated(writes, transaction, amid_locks=amid_locks):
            return []
        # The hash covers the order's id, so it is unique.
        hashes = [after["events"][-1]["hash"] for _, after in changes]
        keys = object_ids(after["id"] for _, after in changes)
        condition = {"_id": {"$in": keys}, "events.hash": {"$in": hashes}}
        written = self._collection.find(condition, {"_id": 1}, session=transaction)
        won = {str(document["_id"]) for document in written}
        return [after["id"] for _, after in changes if after["id"] not in won]

    def pending_since_before(self, moment: datetime, limit: int, but: Iterable[str] = ()) -> list[Order]:
        """The pending orders without a hold that were placed before the moment, or lost their last hold
        before it; none of those in `but`."""
        free: Document = {**LIVE, "status": "pending", "holds.code": {"$exists": False}}
        placed: Document = {"$lt": ObjectId(id_at(moment)), "$nin": object_ids(but)}
        never_held = {**free, "releasedAt": {"$exists": False}, "_id": placed}
        found = self._documents.find(never_held, WITH_TAIL, sort=[("_id", ASCENDING)], limit=limit)
        if len(found) < limit:
            released = {**free, "releasedAt": {"$lt": moment}, "_id": {"$nin": object_ids(but)}}
            found += self._documents.find(released, WITH_TAIL, limit=limit - len(found))
        return found

    def waiting_for(self, product_ids: Iterable[str], after: str | None, limit: int) -> list[Order]:
        """The orders that wait for one of the products, oldest first, from behind the order `after`."""
        products = sorted(product_ids)
        condition: Document = {
            "stock.status": "backordered",
            "stock.shortages.productId": products[0] if len(products) == 1 else {"$in": products},
        }
        if after is not None:
            condition["_id"] = {"$gt": ObjectId(after)}
        return self._documents.find(condition, WITH_TAIL, sort=[("_id", ASCENDING)], limit=limit)

    def backordered_until(self, moment: datetime, limit: int, but: Iterable[str] = ()) -> list[Order]:
        """The orders without stock that wait for it until the moment or an earlier one, except those in
        `but`."""
        condition = {
            "status": "pending",
            "backorderUntil": {"$lte": moment},
            "stock.status": {"$in": NOT_TAKEN},
            "_id": {"$nin": object_ids(but)},
        }
        return self._documents.find(condition, WITH_TAIL, limit=limit)

    def held_until(self, moment: datetime, limit: int, but: Iterable[str] = ()) -> list[Order]:
        """The orders with a hold that ends at the moment or earlier, except those in `but`."""
        condition = {"holds.until": {"$lte": moment}, "_id": {"$nin": object_ids(but)}}
        return self._documents.find(condition, WITH_TAIL, limit=limit)

    def held_from_capture(self, order_ids: Iterable[str]) -> set[str]:
        """The ids of those of the orders that a hold blocks from being captured now."""
        condition = {"_id": {"$in": object_ids(order_ids)}, "holds.blocks": "capture"}
        return {str(document["_id"]) for document in self._collection.find(condition, {"_id": 1})}

    def deleted_before(
        self, moment: datetime, limit: int, but: Iterable[str] = (), *, quotes_until: datetime | None = None
    ) -> list[str]:
        """The ids of orders that were deleted before the moment and owe no step and no money, except those in
        `but`, and those with a quote that is good after `quotes_until`, by default the moment."""
        condition: Document = {
            "deletedAt": {"$lt": moment},
            "dueBy": {"$exists": False},
            "quote.until": {"$not": {"$gte": quotes_until or moment}},
            **OWES_NO_MONEY,
        }
        if kept := object_ids(but):
            condition["_id"] = {"$nin": kept}
        found = self._collection.find(condition, {"_id": 1})
        return [str(document["_id"]) for document in found.sort("deletedAt").limit(limit)]

    def purge(self, order_ids: Sequence[str]) -> None:
        """Removes the documents of these deleted orders for good."""
        self._collection.delete_many({"_id": {"$in": object_ids(order_ids)}, "deletedAt": {"$exists": True}})

    def _compare_and_set(self, before: Order, after: Order, due_by: datetime) -> tuple[Document, Document]:
        """The change of an order, and of the key by which it is found."""
        condition, update = compare_and_set(before, after, due_by)
        if "personal" in update["$set"]:
            if key := self._index.key_of(after.get("personal")):
                update["$set"]["emailKey"] = key
            else:
                update.setdefault("$unset", {})["emailKey"] = ""
        return condition, update

    def _all_updated(
        self, writes: Sequence[UpdateOne], transaction: Transaction | None, *, amid_locks: bool
    ) -> bool:
        if transaction:
            result = self._collection.bulk_write(writes, ordered=False, session=transaction)
            return result.matched_count == len(writes)
        updated = (update_unlocked if amid_locks else update_each)(self._collection, writes)
        for refusal in updated.refused.values():
            raise refusal
        return updated.found == len(writes)

    def _page(self, orders: Collection[Any], query: OrderQuery, limit: int) -> Iterator[Order]:
        number = parse(query.anything or "")
        condition = conditions(query, self._index, self.id_of(number) if number else None)
        found = orders.find(condition, _WITHOUT_LOG, batch_size=_AT_ONCE)
        for document in (found.sort(query.sort) if query.sort else found).limit(limit):
            changed = document.get("updatedAt") if query.by_update else None
            order = decoded(document)
            if changed:
                order["updatedAt"] = changed
            yield order

    @cached_property
    def _collection(self) -> Collection[Document]:
        # Most requests do not use it, and each makes a store for its user.
        return self._database["orders"]

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


class _Batches:
    """Inserts and reads of concurrent requests. Requests of all users share one round trip."""

    def __init__(self, database: Database[Document]) -> None:
        self._documents = OrderDocuments(database)
        self.inserts = GroupCommit(database["orders"])
        self.reads = Gather(self._read)

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


def object_ids(order_ids: Iterable[str]) -> list[ObjectId]:
    return [ObjectId(order_id) for order_id in order_ids]
