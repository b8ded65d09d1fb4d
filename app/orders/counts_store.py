"""What the database tells of how the service is doing; each question is answered from an index alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pymongo.database import Database

from app.mongo.database import Document, reachable
from app.orders.query_store import LIVE
from app.orders.states import STATUS

# What is counted further costs more than it tells.
MOST_COUNTED = 10_000
_COUNT = "orders"
# For a count over an index: what takes longer is not worth it.
_PATIENCE_MS = 60_000
# Every time and every id there can be: an index of them alone answers it.
_DUE: Document = {"dueBy": {"$gt": datetime.min.replace(tzinfo=UTC)}}
_WAITING: dict[str, tuple[str, Document]] = {
    "mail": ("notifications", _DUE),
    "webhook": ("webhook_deliveries", {"endpointId": {"$gt": ""}, **_DUE}),
}


class OrderCount(NamedTuple):
    """How many orders there were in each status, when that was counted, and how long it took in seconds."""

    orders: Mapping[str, int]
    at: datetime
    seconds: float


class OrderCounts:
    """Asks; and keeps the one figure that takes a while."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def count_orders(self) -> dict[str, int]:
        """The orders by status, those deleted left out."""
        return {
            status: self._count("orders", {**LIVE, "status": status}, maxTimeMS=_PATIENCE_MS)
            for status in STATUS
        }

    def keep(self, count: OrderCount) -> None:
        """Keeps the count for those who ask later."""
        with reachable():
            self._database["tallies"].replace_one({"_id": _COUNT}, count._asdict(), upsert=True)

    def last_count(self) -> OrderCount | None:
        """The last count; None before the first."""
        with reachable():
            kept = self._database["tallies"].find_one({"_id": _COUNT}, {"_id": 0})
        return OrderCount(**kept) if kept else None

    def oldest_pending(self) -> datetime | None:
        """When the oldest order was made that is still pending."""
        with reachable():
            found = self._database["orders"].find_one(
                {**LIVE, "status": "pending"}, {"_id": 1}, sort=[("_id", 1)]
            )
        return found["_id"].generation_time if found else None

    def oldest_due(self) -> datetime | None:
        """The earliest time by which a step should have been done or is to be."""
        with reachable():
            found = self._database["orders"].find_one(
                {"dueBy": {"$exists": True}}, {"_id": 0, "dueBy": 1}, sort=[("dueBy", 1)]
            )
        return found["dueBy"] if found else None

    def overdue(self, now: datetime) -> int:
        """How many orders have a step that is overdue."""
        return self._count("orders", {"dueBy": {"$lte": now}}, limit=MOST_COUNTED)

    def waiting(self) -> dict[str, int]:
        """How much is to be delivered yet, by channel."""
        return {channel: self._count(*waiting, limit=MOST_COUNTED) for channel, waiting in _WAITING.items()}

    def payment_events(self) -> int:
        """How many payment events are to be worked on yet."""
        return self._count("payment_events", _DUE, limit=MOST_COUNTED)

    def last_reconciliation(self) -> tuple[datetime, dict[str, int]] | None:
        """When the last reconciliation ended well, and what it found, by kind."""
        with reachable():
            report = self._database["reconciliations"].find_one(
                {"endedAt": {"$exists": True}, "status": "finished"},
                {"endedAt": 1, "found": 1},
                sort=[("endedAt", -1)],
            )
        return (report["endedAt"], report["found"]) if report else None

    def _count(self, collection: str, condition: Document, **limits: Any) -> int:
        # The command, since an aggregation reads every entry of the index to add them up.
        with reachable():
            return self._database.command("count", collection, query=condition, **limits)["n"]
