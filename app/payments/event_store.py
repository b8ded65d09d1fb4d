"""The received events of the payment provider: one record per event, under the provider's id for it."""

from collections.abc import Iterable
from datetime import datetime

from pymongo.database import Database

from app.mongo import due_queue
from app.mongo.database import Document
from app.mongo.documents import insert_if_new, to_document, to_record
from app.mongo.outages import reports_outages
from app.payments.event import ReceivedEvent


@reports_outages
class PaymentEvents:
    """Stores events and their progress.

    A record's `status` is `pending` (with `dueBy`, the time of the next attempt), `done`, `ignored`, or
    `orphaned` if its order was never found.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["payment_events"]

    def record(self, event: ReceivedEvent) -> bool:
        """Stores an event durably and makes it due at once. False if it was stored before."""
        document = to_document(event) | {"status": "pending", "dueBy": event["receivedAt"]}
        return insert_if_new(self._collection, document)

    def due(self, now: datetime, limit: int) -> list[str]:
        """The ids of due events, the longest due first."""
        return due_queue.due(self._collection, now, limit)

    def claim(self, event_id: str, now: datetime, until: datetime) -> ReceivedEvent | None:
        """Claims a due event until the given time. Its `attempts` are the earlier attempts."""
        event: ReceivedEvent | None = to_record(due_queue.claim(self._collection, event_id, now, until))
        return event

    def close(self, event_id: str, status: str, at: datetime, detail: str) -> None:
        """Ends a pending event."""
        ended = {"status": status, "endedAt": at, "detail": detail}
        self._collection.update_one(
            {"_id": event_id, "status": "pending"}, {"$set": ended, "$unset": {"dueBy": ""}}
        )

    def postpone(self, event_id: str, until: datetime, detail: str) -> None:
        """Sets the time of the next attempt."""
        due_queue.postpone(self._collection, event_id, until, detail)

    def ended_before(self, moment: datetime, limit: int) -> list[str]:
        """The ids of events that ended before the moment."""
        found = self._collection.find({"endedAt": {"$lt": moment}}, {"_id": 1}).limit(limit)
        return [document["_id"] for document in found]

    def purge(self, event_ids: Iterable[str]) -> None:
        """Removes the records."""
        self._collection.delete_many({"_id": {"$in": list(event_ids)}})
