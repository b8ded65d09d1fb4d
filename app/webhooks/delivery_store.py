"""What endpoints were told, are being told and are to be told: one record per event and endpoint.

No bodies: they are made of the order when they are sent, so that what is erased there is erased here.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from secrets import token_hex

from pymongo import ReturnDocument
from pymongo.database import Database

from app.mongo.database import Document
from app.mongo.documents import insert_new, to_document, to_record
from app.mongo.outages import reports_outages
from app.webhooks.model import Attempt, Delivery, Status

STATUSES: tuple[Status, ...] = ("pending", "delivered", "failed")

_MOST_ATTEMPTS_KEPT = 30


@reports_outages
class WebhookDeliveries:
    """A record is `pending` (with `dueBy`, the time of the next attempt), `delivered` or `failed`."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["webhook_deliveries"]

    def record(self, deliveries: Sequence[Delivery]) -> None:
        """Records those that are not recorded yet."""
        insert_new(self._collection, [to_document(delivery) for delivery in deliveries])

    def due_endpoint(self, now: datetime, after: str | None) -> str | None:
        """The first endpoint behind that id that has a delivery due, however many others have."""
        condition: Document = {"dueBy": {"$lte": now}}
        if after is not None:
            condition["endpointId"] = {"$gt": after}
        found = self._collection.find_one(
            condition, {"_id": 0, "endpointId": 1}, sort=[("endpointId", 1), ("dueBy", 1)]
        )
        return found["endpointId"] if found else None

    def claim(self, endpoint_id: str, now: datetime, until: datetime) -> Delivery | None:
        """Takes the endpoint's delivery that is due longest, alone until the given time."""
        return to_record(
            self._collection.find_one_and_update(
                {"endpointId": endpoint_id, "dueBy": {"$lte": now}},
                {"$set": {"dueBy": until, "claim": token_hex(8)}},
                sort=[("dueBy", 1)],
                return_document=ReturnDocument.AFTER,
            )
        )

    def close(self, claimed: Delivery, attempt: Attempt, status: Status, reason: str | None = None) -> None:
        """Ends a delivery that is claimed still, with the attempt that ended it."""
        ended = {"status": status, "endedAt": attempt["at"], **({"reason": reason} if reason else {})}
        self._note(claimed, attempt, {"$set": ended, "$unset": {"claim": "", "dueBy": ""}})

    def postpone(self, claimed: Delivery, attempt: Attempt, until: datetime) -> None:
        """Sets the time of the next attempt of a delivery that is claimed still."""
        again = {"dueBy": until, "failures": claimed["failures"] + 1}
        self._note(claimed, attempt, {"$set": again, "$unset": {"claim": ""}})

    def give_up(self, endpoint_id: str, now: datetime, reason: str) -> None:
        """Fails all pending deliveries of an endpoint, but those that somebody is trying just now."""
        free = [{"claim": {"$exists": False}}, {"dueBy": {"$lte": now}}]
        failed = {"status": "failed", "endedAt": now, "reason": reason}
        self._collection.update_many(
            {"endpointId": endpoint_id, "dueBy": {"$exists": True}, "$or": free},
            {"$set": failed, "$unset": {"dueBy": "", "claim": ""}},
        )

    def send_again(self, endpoint_id: str, delivery_id: str, now: datetime) -> Delivery | None:
        """Makes a delivery due now, its failures forgotten, unless somebody is trying it already.

        The delivery as it is then; None where there is none.
        """
        due = {"status": "pending", "dueBy": now, "failures": 0}
        self._collection.update_one(
            {"_id": delivery_id, "endpointId": endpoint_id, "claim": {"$exists": False}},
            {"$set": due, "$unset": {"reason": "", "endedAt": ""}},
        )
        return self.get(endpoint_id, delivery_id)

    def get(self, endpoint_id: str, delivery_id: str) -> Delivery | None:
        """The delivery; None where the endpoint has none of that id."""
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

    def remove(self, endpoint_id: str, delivery_id: str) -> None:
        """Removes a delivery."""
        self._collection.delete_one({"_id": delivery_id, "endpointId": endpoint_id})

    def remove_ended(self, before: datetime, limit: int) -> int:
        """Removes up to so many deliveries that ended before that time; says how many it looked at."""
        ended = {"endedAt": {"$lt": before}}
        found = self._collection.find(ended, {"_id": 1}).sort("endedAt").limit(limit)
        ids = [document["_id"] for document in found]
        # Not what is replayed in between.
        self._collection.delete_many({"_id": {"$in": ids}, **ended})
        return len(ids)

    def forget(self, endpoint_id: str) -> None:
        """Removes all records of an endpoint."""
        self._collection.delete_many({"endpointId": endpoint_id})

    def purge(self, order_ids: Iterable[str]) -> None:
        """Removes all records of these orders."""
        self._collection.delete_many({"orderId": {"$in": list(order_ids)}})

    def _note(self, claimed: Delivery, attempt: Attempt, update: Document) -> None:
        update["$push"] = {"attempts": {"$each": [attempt], "$slice": -_MOST_ATTEMPTS_KEPT}}
        self._collection.update_one({"_id": claimed["id"], "claim": claimed["claim"]}, update)
