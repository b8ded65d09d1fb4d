"""The order in which the outside learns of all events: one small row per event, by position, no content.

Positions count from 1 without gaps, and each is written only when the one before it is there: a writer counts
on from the last one that a majority has, in one ordered insert, and begins anew where another was faster. So
the log of the server itself has position n before n + 1, and no majority read shows the one without the
other, whatever dies when: nothing can ever come in behind a reader. For the same reason the rows of one order
stand in the order of their sequences, without gaps, as long as every writer adds them so, from the first that
may be missing on: what two writers both have, the second finds there.
"""

from collections.abc import Collection, Iterable, Sequence
from copy import copy
from typing import NamedTuple

from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from app.storage.database import Document, reachable

_DUPLICATE_KEY = 11000
# Rows looked through for one page, however few of them it is to show.
MOST_SCANNED = 10_000


class Entry(NamedTuple):
    """One event of an order."""

    order_id: str
    sequence: int
    type: str


class FeedPage(NamedTuple):
    """Entries in the order of the feed, each with its position; the position up to which the feed was looked
    through, and whether there is more behind it."""

    entries: list[tuple[int, Entry]]
    position: int
    has_more: bool


class Feed:
    """Appends to the feed and reads it."""

    _owner: str | None = None

    def __init__(self, database: Database[Document]) -> None:
        self._rows = database["feed"]
        self._orders = database["orders"]

    def of(self, owner: str) -> "Feed":
        """The same feed for one user, to whom the events of others are as if they were not there."""
        own = copy(self)
        own._owner = owner
        return own

    def append(self, entries: Sequence[Entry]) -> None:
        """Adds those of the entries that are not there yet, in this order; safe to repeat and to cut off.

        Those of one order must follow each other by sequence, the first one no later than the first missing.
        """
        with reachable():
            while entries:
                first = self._last() + 1
                try:
                    self._rows.insert_many(_row(first + n, entry) for n, entry in enumerate(entries))
                    return
                except BulkWriteError as error:
                    faults = error.details["writeErrors"]
                    if not faults or faults[0]["code"] != _DUPLICATE_KEY:
                        raise
                    entries = entries[faults[0]["index"] :]
                    if "orderId" in faults[0]["keyPattern"]:
                        entries = self._missing(entries)

    def page(self, after: int, limit: int, types: Collection[str] | None) -> FeedPage:
        """Up to `limit` entries behind a position, of these types alone where there are any."""
        entries: list[tuple[int, Entry]] = []
        scanned, position = 0, after
        with reachable():
            most = MOST_SCANNED if types or self._owner is not None else limit
            rows: Iterable[Document] = self._rows.find({"_id": {"$gt": after}}).sort("_id").limit(most + 1)
            ours = None
            if self._owner is not None:
                rows = list(rows)
                ours = self._orders_in(rows, self._owner)
            for row in rows:
                if scanned == most or len(entries) == limit:
                    return FeedPage(entries, position, has_more=True)
                scanned, position = scanned + 1, row["_id"]
                if (not types or row["type"] in types) and (ours is None or row["orderId"] in ours):
                    entries.append((position, _entry(row)))
        return FeedPage(entries, position, has_more=False)

    def unfed(self, after: str | None, limit: int) -> tuple[list[Entry], str | None]:
        """What is missing of the next orders by id, and where the ones behind them begin; None at the end."""
        condition = {"_id": {"$gt": ObjectId(after)}} if after else {}
        with reachable():
            orders = list(self._orders.find(condition, {"events.type": 1}).sort("_id").limit(limit))
            entries = [
                Entry(str(order["_id"]), sequence, event["type"])
                for order in orders
                for sequence, event in enumerate(order.get("events", ()), 1)
            ]
            return self._missing(entries), str(orders[-1]["_id"]) if len(orders) == limit else None

    def purge(self, order_ids: Iterable[str]) -> None:
        """Removes the rows of these orders.

        The last row of all stays in any case: the next position is counted on from it, and one that was
        given already must not be given again, behind those who have read so far.
        """
        with reachable():
            self._rows.delete_many({"orderId": {"$in": _keys(order_ids)}, "_id": {"$lt": self._last()}})

    def _orders_in(self, rows: Sequence[Document], owner: str) -> set[ObjectId]:
        """The owner's orders among those that the rows are of."""
        condition = {"_id": {"$in": list({row["orderId"] for row in rows})}, "userId": owner}
        return {order["_id"] for order in self._orders.find(condition, {"_id": 1})}

    def _last(self) -> int:
        row = self._rows.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        return row["_id"] if row else 0

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


def _row(position: int, entry: Entry) -> Document:
    return {
        "_id": position,
        "orderId": ObjectId(entry.order_id),
        "sequence": entry.sequence,
        "type": entry.type,
    }


def _entry(row: Document) -> Entry:
    return Entry(str(row["orderId"]), row["sequence"], row["type"])
