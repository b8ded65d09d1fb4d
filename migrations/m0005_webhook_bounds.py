"""Numbers the webhook endpoints, and gives ended deliveries the time since which their retention counts.

The numbers are what bounds the endpoints. Where there are more than the bound already, all of them stay.
"""

from itertools import count, islice

from pymongo.database import Database

from app.config import Settings
from app.storage import schema
from app.storage.database import Document
from app.storage.migrations import Progress

BATCH = 1_000
UNNUMBERED: Document = {"slot": {"$exists": False}}
ENDED: Document = {"dueBy": {"$exists": False}, "endedAt": {"$exists": False}}


def upgrade(database: Database[Document], settings: Settings, progress: Progress) -> list[str]:
    """Each document is changed once, so the migration may be cut off anywhere and run again."""
    schema.apply(database)
    _number(database)
    _date(database, progress)
    return []


def _number(database: Database[Document]) -> None:
    endpoints = database["webhook_endpoints"]
    for endpoint in endpoints.find(UNNUMBERED, {"_id": 1}).sort("_id"):
        taken = set(endpoints.distinct("slot"))
        slot = next(number for number in count(1) if number not in taken)
        endpoints.update_one({"_id": endpoint["_id"]}, {"$set": {"slot": slot}})


def _date(database: Database[Document], progress: Progress) -> None:
    """The time of the last attempt, or that of the event where there was none."""
    deliveries = database["webhook_deliveries"]
    ended = {"$ifNull": [{"$last": "$attempts.at"}, "$at"]}
    total, done = deliveries.count_documents(ENDED), 0
    found = deliveries.find(ENDED, {"_id": 1}, batch_size=BATCH)
    while batch := [document["_id"] for document in islice(found, BATCH)]:
        # Not what a replay has made due in between.
        deliveries.update_many({"_id": {"$in": batch}, **ENDED}, [{"$set": {"endedAt": ended}}])
        done += len(batch)
        progress(done, total)
