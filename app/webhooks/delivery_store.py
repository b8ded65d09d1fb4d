"""The deliveries of webhooks: one record per event and endpoint.

Records have no payload. The payload is made from the order at each attempt, so that erased data are erased
here, too.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from secrets import token_hex
from typing import Any

from pymongo import ReturnDocument
from pymongo.database import Database

from app.mongo import due_queue
from app.mongo.database import Document
from app.mongo.documents import insert_new, to_document, to_record
from app.mongo.outages import reports_outages
from app.webhooks.model import Attempt, Delivery, Status

_MOST_ATTEMPTS_KEPT = 30


@reports_outages
class WebhookDeliveries:
    """Stores deliveries. A record is `pending` (with `dueBy`, the next attempt), `delivered` or `failed`."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["webhook_deliveries"]

    def record(self, deliveries: Sequence[Delivery]) -> None:
        """Records the deliveries that are not recorded yet."""
        insert_new(self._collection, [to_document(delivery) for delivery in deliveries])

    def due_endpoint(self, now: datetime, after: str | None) -> str | None:
        """The first endpoint after this id with a due delivery. It is quick, however many deliveries are
        due."""
        condition: Document = {"dueBy": {"$lte": now}}
        if after is not None:
            condition["endpointId"] = {"$gt": after}
        found = self._collection.find_one(
            condition, {"_id": 0, "endpointId": 1}, sort=[("endpointId", 1), ("dueBy", 1)]
        )
        return found["endpointId"] if found else None

    def claim(self, endpoint_id: str, now: datetime, until: datetime) -> Delivery | None:
        """Claims the endpoint's delivery that is due longest, until the given time."""
        return to_record(
            self._collection.find_one_and_update(
                {"endpointId": endpoint_id, "dueBy": {"$lte": now}},
                {"$set": {"dueBy": until, "claim": token_hex(8)}},
                sort=[("dueBy", 1)],
                return_document=ReturnDocument.AFTER,
            )
        )

    def close(self, claimed: Delivery, attempt: Attempt, status: Status, reason: str | None = None) -> None:
        """Ends a delivery after an attempt, if the claim still holds."""
        ended = {"status": status, "endedAt": attempt["at"], **({"reason": reason} if reason else {})}
        self._note(claimed, attempt, {"$set": ended, "$unset": {"claim": "", "dueBy": ""}})

    def postpone(self, claimed: Delivery, attempt: Attempt, until: datetime) -> None:
        """Sets the time of the next attempt, if the claim still holds."""
        again = {"dueBy": until, "failures": claimed["failures"] + 1}
        self._note(claimed, attempt, {"$set": again, "$unset": {"claim": ""}})

    def give_up(self, endpoint_id: str, now: datetime, reason: str) -> None:
        """Fails all pending deliveries of an endpoint, except those with an attempt in progress."""
        free = [{"claim": {"$exists": False}}, {"dueBy": {"$lte": now}}]
        failed = {"status": "failed", "endedAt": now, "reason": reason}
        self._collection.update_many(
            {"endpointId": endpoint_id, "dueBy": {"$exists": True}, "$or": free},
            {"$set": failed, "$unset": {"dueBy": "", "claim": ""}},
        )

    def send_again(self, endpoint_id: str, delivery_id: str, now: datetime) -> Delivery | None:
        """Makes a delivery due now and resets its failures, unless an attempt is in progress.

        Returns the delivery afterwards; None if it does not exist.
        """
        due = {"status": "pending", "dueBy": now, "failures": 0}
        self._collection.update_one(
            {"_id": delivery_id, "endpointId": endpoint_id, "claim": {"$exists": False}},
            {"$set": due, "$unset": {"reason": "", "endedAt": ""}},
        )
        return self.get(endpoint_id, delivery_id)

    def get(self, endpoint_id: str, delivery_id: str) -> Delivery | None:
        """The delivery; None if the endpoint has no delivery with this id."""
        return to_record(self._collection.find_one({"_id": delivery_id, "endpointId": endpoint_id}))

    def page(
        self, endpoint_id: str, statuses: Sequence[str], after: str | None, limit: int
    ) -> list[Delivery]:
        """Up to `limit + 1` of the endpoint's deliveries in one of the statuses, newest first."""
        condition: Document = {"endpointId": endpoint_id, "status": {"$in": list(statuses)}}
        if after is not None:
            condition["_id"] = {"$lt": after}
        found = self._collection.find(condition).sort("_id", -1).limit(limit + 1)
        return [to_record(document) for document in found]

    def count(self, endpoint_id: str, status: Status) -> int:
        """The number of the endpoint's deliveries in this status."""
        return self._collection.count_documents({"endpointId": endpoint_id, "status": status})

    def remove(self, endpoint_id: str, delivery_id: str) -> None:
        """Removes a delivery."""
        self._collection.delete_one({"_id": delivery_id, "endpointId": endpoint_id})

    def remove_ended(self, before: datetime, limit: int) -> int:
        """Removes up to `limit` deliveries that ended before this time. Returns how many it found."""
        ended = {"endedAt": {"$lt": before}}
        found = self._collection.find(ended, {"_id": 1}).sort("endedAt").limit(limit)
        ids = [document["_id"] for document in found]
        # A delivery that is replayed in between is kept.
        self._collection.delete_many({"_id": {"$in": ids}, **ended})
        return len(ids)

    def forget(self, endpoint_id: str) -> None:
        """Removes all deliveries of an endpoint."""
        self._collection.delete_many({"endpointId": endpoint_id})

    def states(self, order_ids: Iterable[str], limit: int) -> list[tuple[str, dict[str, Any]]]:
        """Up to `limit` order ids with the `channel`, `state` and `nextAttempt` of a delivery."""
        among: Document = {"orderId": {"$in": list(order_ids)}}
        found = self._collection.find(among, {"_id": 0, "orderId": 1, "status": 1, "dueBy": 1}).limit(limit)
        return [(record["orderId"], due_queue.state("webhook", record)) for record in found]

    def purge(self, order_ids: Iterable[str]) -> None:
        """Removes all deliveries of these orders."""
        self._collection.delete_many({"orderId": {"$in": list(order_ids)}})

    def _note(self, claimed: Delivery, attempt: Attempt, update: Document) -> None:
        update["$push"] = {"attempts": {"$each": [attempt], "$slice": -_MOST_ATTEMPTS_KEPT}}
        self._collection.update_one({"_id": claimed["id"], "claim": claimed["claim"]}, update)
