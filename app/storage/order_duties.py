"""What orders still owe, and by when: kept beside the order in its document, no part of it or of its log.

`dueBy` is there while a step is owed: the time by which it should have been done. `attempts` counts how often
it has failed, and `announced` is the sequence up to which notifications are recorded.
"""

from collections.abc import Iterable
from datetime import datetime

import structlog
from bson import ObjectId
from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from app.domain import steps
from app.domain.order import Order
from app.storage.database import Document, reachable
from app.storage.orders import WITH_TAIL, object_ids, order_of

log = structlog.get_logger()

_INVALID_DOCUMENT = 121


class OrderDuties:
    """Finds what is owed, and notes when it is to be tried again or is done."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["orders"]

    def postpone(self, due: dict[str, datetime]) -> None:
        """Counts a failed attempt at these orders' steps and sets the time of the next."""
        self._write(
            UpdateOne({"_id": ObjectId(order_id)}, {"$set": {"dueBy": moment}, "$inc": {"attempts": 1}})
            for order_id, moment in due.items()
        )

    def overdue(self, now: datetime, limit: int) -> list[Order]:
        """The orders that owe a step since before now, longest first."""
        with reachable():
            found = self._collection.find({"dueBy": {"$lte": now}}, WITH_TAIL).sort("dueBy").limit(limit)
            return [order_of(document) for document in found]

    def owing(self, after: tuple[datetime, str] | None, limit: int) -> list[Order]:
        """A page of all orders that owe a step, overdue or not, by the time it is due and the id."""
        condition: Document = {"dueBy": {"$exists": True}}
        if after:
            moment, order_id = after
            same_moment = {"dueBy": moment, "_id": {"$gt": ObjectId(order_id)}}
            condition = {"$or": [{"dueBy": {"$gt": moment}}, same_moment]}
        with reachable():
            found = self._collection.find(condition, WITH_TAIL)
            return [order_of(document) for document in found.sort([("dueBy", 1), ("_id", 1)]).limit(limit)]

    def allow_until(self, order_ids: Iterable[str], due_by: datetime) -> None:
        """Gives the owed steps of these orders until then, before they count as overdue again."""
        self._write(
            UpdateOne({"_id": key, "dueBy": {"$exists": True}}, {"$set": {"dueBy": due_by}})
            for key in object_ids(order_ids)
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

    def settle(self, orders: Iterable[Order]) -> None:
        """Notes that these orders, as they were loaded, owe nothing more."""
        self._write(
            UpdateOne({"_id": ObjectId(order["id"]), "version": order["version"]}, {"$unset": {"dueBy": ""}})
            for order in orders
        )

    def mark_announced(self, orders: Iterable[Order]) -> None:
        """Notes that notifications of all events up to these orders' versions are recorded.

        One that owed nothing more, but has moved on since, is left to the announcement of what moved it.
        """
        self._write(_announced(order) for order in orders)

    def _write(self, writes: Iterable[UpdateOne]) -> None:
        """Keeps the books of a journey; an order that the validator refuses spoils it for no other."""
        batch = list(writes)
        if not batch:
            return
        try:
            with reachable():
                self._collection.bulk_write(batch, ordered=False)
        except BulkWriteError as error:
            faults = error.details["writeErrors"]
            if any(fault["code"] != _INVALID_DOCUMENT for fault in faults):
                raise
            invalid = [str(fault["op"]["q"]["_id"]) for fault in faults]
            log.error("order is invalid as stored", order_ids=invalid)


def _announced(order: Order) -> UpdateOne:
    version = order["version"]
    if steps.due({**order, "announced": version}):
        return UpdateOne({"_id": ObjectId(order["id"])}, {"$max": {"announced": version}})
    return UpdateOne(
        {"_id": ObjectId(order["id"]), "version": version},
        {"$set": {"announced": version}, "$unset": {"dueBy": ""}},
    )
