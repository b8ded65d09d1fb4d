"""What orders still owe, and by when: kept beside the order in its document, no part of it or of its log.

`dueBy` is there while a step is owed: the time by which it should have been done. `attempts` counts how often
it has failed, and `announced` is the sequence up to which notifications are recorded.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial

import structlog
from bson import ObjectId
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.mongo.batches import Updated, update_each, update_unlocked
from app.mongo.database import Document, reachable
from app.orders import steps
from app.orders.documents_store import OrderDocuments
from app.orders.model import Order

log = structlog.get_logger()

# What says which steps an order owes, and whose order it is.
_SHOWN = dict.fromkeys(
    (
        *("status", "payment.status", "stock.status", "refunds", "announced", "publicVersion"),
        *("version", "dueBy", "attempts", "origin"),
    ),
    1,
)
# Where a page of what is owed ends: the time by which the last order's step is due, and its id.
Place = tuple[datetime, str]

# A document may hold something else than a number there.
_ONE_MORE = {"$add": [{"$cond": [{"$isNumber": "$attempts"}, "$attempts", 0]}, 1]}


# Seconds that the note of an announcement waits for an order that is locked; nothing hangs on it.
_AT_MOST = 0.3

_Update = Callable[[Collection[Document], Sequence[UpdateOne]], Updated]


class DueWork:
    """Finds what is owed, and notes when it is to be tried again or is done."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["orders"]
        self._documents = OrderDocuments(database)

    def postpone(self, due: Mapping[str, datetime], *, amid_locks: bool = False) -> None:
        """Counts a failed attempt at these orders' steps and sets the time of the next.

        `amid_locks` says that some of them are probably locked.
        """
        self._write(
            update_unlocked if amid_locks else update_each,
            [
                UpdateOne({"_id": ObjectId(order_id)}, [{"$set": {"dueBy": moment, "attempts": _ONE_MORE}}])
                for order_id, moment in due.items()
            ],
        )

    def overdue(self, now: datetime, limit: int, after: Place | None = None) -> list[Order]:
        """A page of the orders that owe a step since before now, longest first, with what says which."""
        return self._page({"$lte": now}, after, limit)

    def owing(self, after: Place | None, limit: int) -> list[Order]:
        """A page of all orders that owe a step, overdue or not, by the time it is due and the id."""
        return self._page({}, after, limit)

    def allow_until(self, overdue: Mapping[str, datetime], due_by: datetime) -> None:
        """Gives the owed steps of these orders until then, before they count as overdue again.

        `overdue` says when they were due; an order whose time is another by now keeps it.
        """
        self._write(
            update_each,
            [
                UpdateOne({"_id": ObjectId(order_id), "dueBy": moment}, {"$set": {"dueBy": due_by}})
                for order_id, moment in overdue.items()
            ],
        )

    def make_due(self, order_id: str, now: datetime) -> None:
        """Makes the owed step of an order overdue now, with its attempts forgotten."""
        with reachable():
            self._collection.update_one({"_id": ObjectId(order_id)}, {"$set": {"dueBy": now, "attempts": 0}})

    def announce_again(self, order: Order, announced: int, now: datetime) -> bool:
        """Sets back up to where notifications of the order are recorded, and makes announcing overdue now;
        False if the order has moved on."""
        again = {"announced": announced, "dueBy": now, "attempts": 0}
        with reachable():
            present = {"_id": ObjectId(order["id"]), "version": order["version"]}
            return self._collection.update_one(present, {"$set": again}).matched_count == 1

    def clear(self, orders: Iterable[Order]) -> None:
        """Notes that these orders, as they were loaded, owe nothing more."""
        self._write(
            update_each,
            [
                UpdateOne(
                    {"_id": ObjectId(order["id"]), "version": order["version"]}, {"$unset": {"dueBy": ""}}
                )
                for order in orders
            ],
        )

    def mark_announced(self, orders: Iterable[Order]) -> None:
        """Notes that notifications of all events up to these orders' versions are recorded.

        One that owed nothing more, but has moved on since, is left to the announcement of what moved it.
        """
        self._write(partial(update_each, seconds=_AT_MOST), [_announced(order) for order in orders])

    def _page(self, until: Document, after: Place | None, limit: int) -> list[Order]:
        condition: Document = {"dueBy": until or {"$exists": True}}
        if after:
            moment, order_id = after
            same_moment = {"dueBy": moment, "_id": {"$gt": ObjectId(order_id)}}
            condition = {
                "dueBy": {**until, "$gte": moment},
                "$or": [{"dueBy": {"$gt": moment}}, same_moment],
            }
        with reachable():
            sort = [("dueBy", 1), ("_id", 1)]
            return self._documents.find(condition, _SHOWN, sort=sort, limit=limit)

    def _write(self, update: _Update, writes: Sequence[UpdateOne]) -> None:
        """Keeps the books of a journey; an order that is locked or refused spoils it for no other.

        A locked order stays as it is, and the sweep finds it again.
        """
        if not writes:
            return
        with reachable():
            updated = update(self._collection, writes)
            for position in updated.refused:
                self._write_past_the_validator(writes[position])
        if updated.locked:
            locked = [_id_in(writes[position]) for position in updated.locked]
            log.info("orders are locked, left to the sweep", order_ids=locked)

    def _write_past_the_validator(self, write: UpdateOne) -> None:
        """These books are no part of the order, so the rules for orders do not bind them."""
        log.error("order is invalid as stored", order_ids=[_id_in(write)])
        try:
            self._collection.bulk_write([write], bypass_document_validation=True)
        except OperationFailure as error:
            log.error("order cannot be postponed", order_ids=[_id_in(write)], code=error.code)


def _id_in(write: UpdateOne) -> str:
    return str(write._filter["_id"])


def _announced(order: Order) -> UpdateOne:
    version = order["version"]
    if steps.due({**order, "announced": version}):
        return UpdateOne({"_id": ObjectId(order["id"])}, {"$max": {"announced": version}})
    return UpdateOne(
        {"_id": ObjectId(order["id"]), "version": version},
        {"$set": {"announced": version}, "$unset": {"dueBy": ""}},
    )
