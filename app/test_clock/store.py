"""The times at which stored work comes due, and what happened since a time."""

from collections.abc import Container
from datetime import UTC, datetime, timedelta

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.database import Database

from app.clock import id_at, moment_of
from app.mongo.database import Document
from app.mongo.documents import to_record
from app.mongo.outages import reports_outages
from app.orders.query_store import LIVE
from app.orders.shortages import NOT_TAKEN
from app.webhooks.model import Delivery

_SECOND = timedelta(seconds=1)
_FIRST = datetime.fromtimestamp(0, UTC)


@reports_outages
class DueTimes:
    """Finds the first time later than `after` at which something comes due; None if nothing does."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._orders = database["orders"]

    def earliest(self, collection: str, field: str, after: datetime) -> datetime | None:
        """The earliest time in this field of a collection."""
        later: Document = {field: {"$gt": after}}
        found = self._database[collection].find_one(later, {"_id": 0, field: 1}, sort=[(field, ASCENDING)])
        return found[field] if found else None

    def has_fresh_steps(self, begun: Container[tuple[str, datetime]]) -> bool:
        """Whether an order owes a step that was never attempted, except those with an id and time in
        `begun`."""
        fresh = self._orders.find({"dueBy": {"$exists": True}, "attempts": 0}, {"dueBy": 1})
        return any((str(document["_id"]), document["dueBy"]) not in begun for document in fresh)

    def expiry(self, after: datetime, expires_after: timedelta) -> datetime | None:
        """The second in which an order expires that is not held."""
        free: Document = {**LIVE, "status": "pending", "holds.code": {"$exists": False}}
        start = max(after, _FIRST + expires_after) - expires_after
        placed = self._orders.find_one(
            {**free, "releasedAt": {"$exists": False}, "_id": {"$gte": ObjectId(id_at(start))}},
            {"_id": 1},
            sort=[("_id", ASCENDING)],
        )
        released = self._orders.find_one(
            {**free, "releasedAt": {"$gte": start}}, {"releasedAt": 1}, sort=[("releasedAt", ASCENDING)]
        )
        begun = [moment_of(str(placed["_id"]))] if placed else []
        begun += [released["releasedAt"]] if released else []
        # The id of an order has whole seconds.
        return min(begun) + expires_after + _SECOND if begun else None

    def end_of_backorder(self, after: datetime) -> datetime | None:
        """The time until which an order waits for stock."""
        waiting: Document = {
            "status": "pending",
            "backorderUntil": {"$gt": after},
            "stock.status": {"$in": NOT_TAKEN},
        }
        found = self._orders.find_one(
            waiting, {"_id": 0, "backorderUntil": 1}, sort=[("backorderUntil", ASCENDING)]
        )
        return found["backorderUntil"] if found else None

    def end_of_hold(self, after: datetime) -> datetime | None:
        """The time at which a hold ends."""
        later: Document = {"holds.until": {"$gt": after}}
        found = self._orders.aggregate(
            [
                {"$match": later},
                {"$project": {"holds.until": 1}},
                {"$unwind": "$holds"},
                {"$match": later},
                {"$group": {"_id": None, "next": {"$min": "$holds.until"}}},
            ]
        )
        return next((one["next"] for one in found), None)

    def changed_orders(self, since: datetime) -> list[str]:
        """The ids of the orders that have an event since then and are not deleted."""
        changed = self._orders.find({**LIVE, "updatedAt": {"$gte": since}}, {"_id": 1})
        return [str(document["_id"]) for document in changed]

    def attempted_deliveries(self, since: datetime) -> list[Delivery]:
        """The deliveries of webhooks with an attempt since then. Reads all deliveries."""
        attempted = self._database["webhook_deliveries"].find({"attempts.at": {"$gte": since}})
        return [to_record(document) for document in attempted]
