"""The sequence of all events in the feed: one small row per event, with its position and no content.

Positions count from 1 without gaps. A writer continues after the last position that a majority has, with one
ordered insert. If another writer was faster, it starts again. So the server's own log has position n before n
+ 1, and a majority read never shows n + 1 without n, whatever crashes. Therefore no row can appear behind a
reader.

The rows of one order are in the order of their sequences, without gaps. That holds because each writer starts
at the first event that can be missing and skips the rows that are there.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import structlog
from bson import ObjectId
from pymongo import UpdateMany
from pymongo.collection import Collection as Rows
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from app.mongo.database import Document
from app.mongo.documents import DUPLICATE_KEY
from app.mongo.outages import reports_outages
from app.orders.documents_store import OrderDocuments
from app.orders.model import Order

log = structlog.get_logger(__name__)

_INVALID_DOCUMENT = 121
# The owner in the rows of an order that no longer exists. No user has this id.
_NOBODY = ""
_BATCH = 1_000
_UNOWNED: Document = {"userId": None}

# The index for a page, by whether the page is limited to one user, and to some types.
_INDEXES = {
    (False, False): "_id_",
    (False, True): "type_1__id_1",
    (True, False): "userId_1__id_1",
    (True, True): "userId_1_type_1__id_1",
}


class Entry(NamedTuple):
    """One event of an order."""

    order_id: str
    sequence: int
    type: str


class FeedPage(NamedTuple):
    """Entries in the order of the feed, each with its position, and whether more entries follow."""

    entries: list[tuple[int, Entry]]
    has_more: bool


@reports_outages
class Feed:
    """Appends to the feed and reads it."""

    def __init__(self, database: Database[Document], owner: str | None = None) -> None:
        self._database = database
        self._owner = owner
        self._orders = OrderDocuments(database)

    def of(self, owner: str) -> "Feed":
        """The same store, limited to the events of one user."""
        return Feed(self._database, owner)

    def append(self, entries: Sequence[Entry]) -> None:
        """Adds the missing entries in the given order. It is safe to repeat and to interrupt.

        The entries of one order must be consecutive, and must not start after its first missing entry.
        """
        owners = self._owners({entry.order_id for entry in entries})
        while entries:
            first = self.last() + 1
            rows = [_row(first + n, entry, owners[entry.order_id]) for n, entry in enumerate(entries)]
            try:
                self._rows.insert_many(rows)
                return
            except BulkWriteError as error:
                entries = self._rest(entries, error)

    def page(self, after: int, limit: int, types: Collection[str] | None) -> FeedPage:
        """Up to `limit` entries after a position, of the given types or of all types.

        Reads at most one row more than it returns.
        """
        condition: Document = {"_id": {"$gt": after}}
        if types:
            condition["type"] = {"$in": sorted(types)}
        if self._owner is not None:
            # During an upgrade, a relay of the previous release writes rows without an owner.
            self.note_owners(after)
            condition["userId"] = self._owner
        index = _INDEXES[self._owner is not None, bool(types)]
        rows = list(self._rows.find(condition).sort("_id").limit(limit + 1).hint(index))
        return FeedPage([(row["_id"], _entry(row)) for row in rows[:limit]], len(rows) > limit)

    def note_owners(self, after: int = 0) -> None:
        """Adds the missing owners to the rows after the position. It is safe to repeat and to interrupt."""
        while rows := self._unowned_behind(after):
            keys = {row["orderId"] for row in rows}
            owners = self._owners([str(key) for key in keys])
            updates = [
                UpdateMany({"orderId": key, **_UNOWNED}, {"$set": {"userId": owners[str(key)]}})
                for key in keys
            ]
            self._rows.bulk_write(updates, ordered=False, bypass_document_validation=True)
            after = rows[-1]["_id"]

    def unfed(self, after: str | None, limit: int) -> tuple[list[Entry], str | None]:
        """The missing entries of the next orders by id, and the start of the next page; None after the last
        page."""
        condition = {"_id": {"$gt": ObjectId(after)}} if after else {}
        orders = self._orders.find(condition, {"events.type": 1}, sort=[("_id", 1)], limit=limit)
        entries = [entry for order in orders for entry in _entries(order)]
        return self._missing(entries), orders[-1]["id"] if len(orders) == limit else None

    def last(self) -> int:
        """The last position; 0 before the first event."""
        row = self._rows.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        return row["_id"] if row else 0

    def purge(self, order_ids: Iterable[str]) -> None:
        """Removes the rows of these orders, but never the last row of the feed.

        The next position continues from the last row. A position must not be used twice, since a reader that
        has passed it would miss the second event.
        """
        self._rows.delete_many({"orderId": {"$in": _keys(order_ids)}, "_id": {"$lt": self.last()}})

    @cached_property
    def _rows(self) -> Rows[Document]:
        # Most requests do not use it, and each makes a store for its user.
        return self._database["feed"]

    def _owners(self, order_ids: Collection[str]) -> dict[str, str]:
        """The owner of each of these orders."""
        owners = dict.fromkeys(order_ids, _NOBODY)
        for order in self._orders.find({"_id": {"$in": _keys(order_ids)}}, {"userId": 1}):
            if isinstance(owner := order.get("userId"), str):
                owners[order["id"]] = owner
        return owners

    def _unowned_behind(self, after: int) -> list[Document]:
        rows = self._rows.find({**_UNOWNED, "_id": {"$gt": after}}, {"orderId": 1}).sort("_id")
        return list(rows.limit(_BATCH).hint(_INDEXES[True, False]))

    def _rest(self, entries: Sequence[Entry], error: BulkWriteError) -> Sequence[Entry]:
        """The entries that are left to add after one was refused. Raises any other error."""
        faults = error.details["writeErrors"]
        code = faults[0]["code"] if faults else None
        if code == _INVALID_DOCUMENT:
            # An event of an unknown type, from a damaged log. The other events do not wait for it.
            refused = entries[faults[0]["index"]]
            log.error("event cannot be fed", order_id=refused.order_id, sequence=refused.sequence)
            return entries[faults[0]["index"] + 1 :]
        if code != DUPLICATE_KEY:
            raise error
        entries = entries[faults[0]["index"] :]
        return self._missing(entries) if "orderId" in faults[0]["keyPattern"] else entries

    def _missing(self, entries: Sequence[Entry]) -> list[Entry]:
        found = self._rows.aggregate(
            [
                {"$match": {"orderId": {"$in": _keys({entry.order_id for entry in entries})}}},
                {"$group": {"_id": "$orderId", "sequence": {"$max": "$sequence"}}},
            ]
        )
        known = {str(row["_id"]): row["sequence"] for row in found}
        return [entry for entry in entries if entry.sequence > known.get(entry.order_id, 0)]


def _keys(order_ids: Iterable[str]) -> list[ObjectId]:
    return [ObjectId(order_id) for order_id in order_ids]


def _row(position: int, entry: Entry, owner: str) -> Document:
    return {
        "_id": position,
        "orderId": ObjectId(entry.order_id),
        "sequence": entry.sequence,
        "type": entry.type,
        "userId": owner,
    }


def _entry(row: Document) -> Entry:
    return Entry(str(row["orderId"]), row["sequence"], row["type"])


def _entries(order: Order) -> Iterator[Entry]:
    """The events of an order, up to the first unreadable one."""
    try:
        for sequence, event in enumerate(order["events"], 1):
            yield Entry(order["id"], sequence, event["type"])
    except Exception:
        log.exception("events of an order cannot be read", order_id=order["id"])
