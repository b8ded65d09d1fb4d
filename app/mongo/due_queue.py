"""Records that wait for their next attempt: `dueBy` is its time, and a claim moves it into the future.

A process that dies loses its claims at that time, and another process takes the records.
"""

from datetime import datetime
from typing import Any

from pymongo.collection import Collection

from app.mongo.database import Document


def due(collection: Collection[Document], now: datetime, limit: int) -> list[str]:
    """The ids of the records whose next attempt is due, the longest overdue first."""
    found = collection.find({"dueBy": {"$lte": now}}, {"_id": 1}).sort("dueBy").limit(limit)
    return [document["_id"] for document in found]


def claim(
    collection: Collection[Document], record_id: str, now: datetime, until: datetime
) -> Document | None:
    """The record as it was before, claimed until then and its attempt counted. None if it is not due."""
    return collection.find_one_and_update(
        {"_id": record_id, "dueBy": {"$lte": now}}, {"$set": {"dueBy": until}, "$inc": {"attempts": 1}}
    )


def postpone(collection: Collection[Document], record_id: str, until: datetime, detail: str) -> None:
    """Sets the time of the next attempt of a pending record, and why the last one failed."""
    collection.update_one(
        {"_id": record_id, "status": "pending"}, {"$set": {"dueBy": until, "detail": detail}}
    )


def state(channel: str, record: Document) -> dict[str, Any]:
    """The state of a record as a diagnosis shows it. `nextAttempt` is present while the record is pending."""
    shown = {"channel": channel, "state": record["status"]}
    return {**shown, "nextAttempt": record["dueBy"]} if "dueBy" in record else shown
