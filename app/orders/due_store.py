"""The due work of orders: stored in the order's document, but no part of the order or of its log.

`dueBy` is set while a step is owed: the time by which the step should be done. `attempts` counts the failed
attempts, and `lastError` is the reason of the last one, until the order changes. `announced` is the sequence
up to which notifications are recorded.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import structlog
from bson import ObjectId
from pymongo import UpdateMany, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.mongo.batches import Updated, update_each, update_unlocked
from app.mongo.database import Document
from app.mongo.outages import reports_outages
from app.orders import steps
from app.orders.documents_store import OrderDocuments
from app.orders.model import Order
from app.orders.step_errors import StepError

log = structlog.get_logger()

# The fields that determine the steps an order owes, and those that identify the order in logs and traces.
_SHOWN = dict.fromkeys(
    (
        *("status", "payment.status", "stock.status", "refunds", "holds.blocks"),
        *("cancellations", "returns.receipts", "announced"),
        *("stockFirst", "stock.shortages", "products.productId", "products.quantity"),
        *("publicVersion", "version", "dueBy", "attempts", "origin"),
    ),
    1,
)
# The end of a page of due work: `dueBy` of the last order, and its id.
PageEnd = tuple[datetime, str]

# `attempts` may hold something other than a number in a damaged document.
_ONE_MORE = {"$add": [{"$cond": [{"$isNumber": "$attempts"}, "$attempts", 0]}, 1]}
_NOTHING_DUE = {"dueBy": "", "lastError": ""}
# Seconds to wait for a locked order when noting an announcement; the note may be lost without harm.
_AT_MOST = 0.3

_Update = Callable[[Collection[Document], Sequence[UpdateOne]], Updated]


@reports_outages
class DueWork:
    """Finds the orders that owe a step, and records the next attempt or the end of the work."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["orders"]
        self._documents = OrderDocuments(database)

    def postpone(
        self, due: Mapping[str, datetime], error: StepError | None = None, *, amid_locks: bool = False
    ) -> None:
        """Counts an attempt at the steps of these orders, with its error, and sets the time of the next.

        Set `amid_locks` if some of the orders are probably locked.
        """
        counted = {"attempts": _ONE_MORE, "lastError": {**error} if error else "$$REMOVE"}
        self._write(
            update_unlocked if amid_locks else update_each,
            [
                UpdateOne({"_id": ObjectId(order_id)}, [{"$set": {"dueBy": moment, **counted}}])
                for order_id, moment in due.items()
            ],
        )

    def overdue(self, now: datetime, limit: int, after: PageEnd | None = None) -> list[Order]:
        """A page of the orders whose step is overdue, oldest first, with the fields that determine it."""
        return self._page({"$lte": now}, after, limit)

    def owing(self, after: PageEnd | None, limit: int) -> list[Order]:
        """A page of all orders that owe a step, overdue or not, sorted by `dueBy` and id."""
        return self._page({}, after, limit)

    def allow_until(self, overdue: Mapping[str, datetime], due_by: datetime) -> None:
        """Sets a new `dueBy` for these orders, so that they are not overdue before then.

        `overdue` holds the `dueBy` that was read. An order whose `dueBy` has changed since keeps it.
        """
        self._write(
            update_each,
            [
                UpdateOne({"_id": ObjectId(order_id), "dueBy": moment}, {"$set": {"dueBy": due_by}})
                for order_id, moment in overdue.items()
            ],
        )

    def make_due(self, order_id: str, now: datetime) -> None:
        """Makes the owed step of an order due now, and resets its attempts."""
        self._collection.update_one({"_id": ObjectId(order_id)}, {"$set": {"dueBy": now, "attempts": 0}})

    def announce_again(self, order: Order, announced: int, now: datetime) -> bool:
        """Sets `announced` back and makes announcing due now. Returns False if the order has changed."""
        again = {"announced": announced, "dueBy": now, "attempts": 0}
        present = {"_id": ObjectId(order["id"]), "version": order["version"]}
        return self._collection.update_one(present, {"$set": again}).matched_count == 1

    def clear(self, orders: Iterable[Order]) -> None:
        """Records that these orders, in the version that was loaded, owe nothing more."""
        self._write(
            update_each,
            [
                UpdateOne(
                    {"_id": ObjectId(order["id"]), "version": order["version"]}, {"$unset": _NOTHING_DUE}
                )
                for order in orders
            ],
        )

    def mark_announced(self, orders: Iterable[Order]) -> None:
        """Records that the events up to these orders' `announced` are announced.

        An order that has changed since is left to the announcement of that change.
        """
        alike: dict[tuple[int, int | None], list[ObjectId]] = defaultdict(list)
        for order in orders:
            # `dueBy` stays while the order owes another step.
            version = None if steps.due(order) else order["version"]
            alike[order["announced"], version].append(ObjectId(order["id"]))
        # One statement for many orders costs the database less, but it stops at an order that fails.
        writes = [UpdateMany(*_announced({"$in": keys}, *state)) for state, keys in alike.items()]
        updated = update_each(self._collection, writes, seconds=_AT_MOST)
        groups = list(alike.items())
        for position in (*updated.locked, *updated.refused):
            state, keys = groups[position]
            self._write(update_unlocked, [UpdateOne(*_announced(key, *state)) for key in keys])

    def _page(self, until: Document, after: PageEnd | None, limit: int) -> list[Order]:
        condition: Document = {"dueBy": until or {"$exists": True}}
        if after:
            moment, order_id = after
            same_moment = {"dueBy": moment, "_id": {"$gt": ObjectId(order_id)}}
            condition = {
                "dueBy": {**until, "$gte": moment},
                "$or": [{"dueBy": {"$gt": moment}}, same_moment],
            }
        sort = [("dueBy", 1), ("_id", 1)]
        return self._documents.find(condition, _SHOWN, sort=sort, limit=limit)

    def _write(self, update: _Update, writes: Sequence[UpdateOne]) -> None:
        """Makes all writes; an order that is locked or refused does not stop the others.

        A locked order stays as it is, and the sweep finds it again.
        """
        if not writes:
            return
        updated = update(self._collection, writes)
        for position in updated.refused:
            self._write_past_the_validator(writes[position])
        if updated.locked:
            locked = [_id_in(writes[position]) for position in updated.locked]
            log.info("orders are locked, left to the sweep", order_ids=locked)

    def _write_past_the_validator(self, write: UpdateOne) -> None:
        """Writes a field of due work to an invalid order. These fields are no part of the order."""
        log.error("order is invalid as stored", order_ids=[_id_in(write)])
        try:
            self._collection.bulk_write([write], bypass_document_validation=True)
        except OperationFailure as error:
            log.error("order cannot be postponed", order_ids=[_id_in(write)], code=error.code)


def _id_in(write: UpdateOne) -> str:
    return str(write._filter["_id"])


def _announced(key: object, announced: int, version: int | None) -> tuple[Document, Document]:
    """The condition and the update for an announcement. Without a version, `dueBy` stays."""
    if version is None:
        return {"_id": key}, {"$max": {"announced": announced}}
    return {"_id": key, "version": version}, {"$set": {"announced": announced}, "$unset": _NOTHING_DUE}
