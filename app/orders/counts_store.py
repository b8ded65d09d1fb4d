"""The figures behind the gauges. Every query is answered from an index alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pymongo.database import Database

from app.mongo.database import Document
from app.mongo.outages import reports_outages
from app.orders.query_store import LIVE
from app.orders.states import STATUS

# Counting beyond this costs more than the exact figure is worth.
MOST_COUNTED = 10_000
_COUNT = "orders"
# The limit for a count over an index.
_PATIENCE_MS = 60_000
# Matches every possible time and id, so that the index alone answers the query.
_DUE: Document = {"dueBy": {"$gt": datetime.min.replace(tzinfo=UTC)}}
_WAITING: dict[str, tuple[str, Document]] = {
    "mail": ("notifications", _DUE),
    "webhook": ("webhook_deliveries", {"endpointId": {"$gt": ""}, **_DUE}),
}


class OrderCount(NamedTuple):
    """The number of orders in each status, the time of the count, and its duration in seconds."""

    orders: Mapping[str, int]
    at: datetime
    seconds: float


@reports_outages
class OrderCounts:
    """Reads the figures, and stores the count of orders, which takes a while."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def count_orders(self) -> dict[str, int]:
        """The number of orders by status, without deleted ones."""
        return {
            status: self._count("orders", {**LIVE, "status": status}, maxTimeMS=_PATIENCE_MS)
            for status in STATUS
        }

    def keep(self, count: OrderCount) -> None:
        """Stores the count for later readers."""
        self._database["tallies"].replace_one({"_id": _COUNT}, count._asdict(), upsert=True)

    def last_count(self) -> OrderCount | None:
        """The last count; None before the first."""
        kept = self._database["tallies"].find_one({"_id": _COUNT}, {"_id": 0})
        return OrderCount(**kept) if kept else None

    def oldest_pending(self) -> datetime | None:
        """The creation time of the oldest pending order; None without one."""
        found = self._database["orders"].find_one(
            {**LIVE, "status": "pending"}, {"_id": 1}, sort=[("_id", 1)]
        )
        return found["_id"].generation_time if found else None

    def oldest_due(self) -> datetime | None:
        """The earliest `dueBy` of all orders; None if no step is owed."""
        found = self._database["orders"].find_one(
            {"dueBy": {"$exists": True}}, {"_id": 0, "dueBy": 1}, sort=[("dueBy", 1)]
        )
        return found["dueBy"] if found else None

    def overdue(self, now: datetime) -> int:
        """How many orders have a step that is overdue."""
        return self._count("orders", {"dueBy": {"$lte": now}}, limit=MOST_COUNTED)

    def waiting(self) -> dict[str, int]:
        """The number of undelivered messages by channel."""
        return {channel: self._count(*waiting, limit=MOST_COUNTED) for channel, waiting in _WAITING.items()}

    def payment_events(self) -> int:
        """The number of payment events that still wait."""
        return self._count("payment_events", _DUE, limit=MOST_COUNTED)

    def last_reconciliation(self) -> tuple[datetime, dict[str, int]] | None:
        """The end of the last successful reconciliation, and the number of differences by kind."""
        report = self._database["reconciliations"].find_one(
            {"endedAt": {"$exists": True}, "status": "finished"},
            {"endedAt": 1, "found": 1},
            sort=[("endedAt", -1)],
        )
        return (report["endedAt"], report["found"]) if report else None

    def _count(self, collection: str, condition: Document, **limits: Any) -> int:
        # `count_documents` would run an aggregation, which reads every entry of the index.
        return self._database.command("count", collection, query=condition, **limits)["n"]
