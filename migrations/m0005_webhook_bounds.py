"""Numbers the webhook endpoints, and gives ended deliveries the time since which their retention counts.

The numbers are what bounds the endpoints. Where there are more than the bound already, all of them stay.
"""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymongo.database import Database

    from app.config import Settings
    from app.migrations import Progress

BATCH = 1_000
UNNUMBERED = {"slot": {"$exists": False}}
ENDED = {"dueBy": {"$exists": False}, "endedAt": {"$exists": False}}


def upgrade(database: Database[dict[str, Any]], settings: Settings, progress: Progress) -> list[str]:
    """Each document is changed once, so the migration may be cut off anywhere and run again."""
    _number(database)
    _date(database, progress)
    return []


def _number(database: Database[dict[str, Any]]) -> None:
    endpoints = database["webhook_endpoints"]
    for endpoint in endpoints.find(UNNUMBERED, {"_id": 1}).sort("_id"):
        taken = set(endpoints.distinct("slot"))
        slot = next(number for number in count(1) if number not in taken)
        endpoints.update_one(
            {"_id": endpoint["_id"]}, {"$set": {"slot": slot}}, bypass_document_validation=True
        )


def _date(database: Database[dict[str, Any]], progress: Progress) -> None:
    """The time of the last attempt, or that of the event where there was none."""
    deliveries = database["webhook_deliveries"]
    ended = {"$ifNull": [{"$last": "$attempts.at"}, "$at"]}
    total, done = deliveries.count_documents(ENDED), 0
    found = deliveries.find(ENDED, {"_id": 1}, batch_size=BATCH)
    while batch := [document["_id"] for document in islice(found, BATCH)]:
        # Not what a replay has made due in between.
        deliveries.update_many(
            {"_id": {"$in": batch}, **ENDED}, [{"$set": {"endedAt": ended}}], bypass_document_validation=True
        )
        done += len(batch)
        progress(done, total)
