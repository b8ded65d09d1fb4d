"""What has been announced: one record per order, event and channel, under a unique key."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pymongo.database import Database
from pymongo.errors import BulkWriteError

from app.mongo.database import PASSING, Document, reachable
from app.notifications.model import Notification

_DUPLICATE_KEY = 11000


class Recorded(NamedTuple):
    """The notifications that are recorded from now on, and those that the database refused."""

    made: list[Notification]
    refused: list[Notification]


class Notifications:
    """A record has a `status`: `pending` (with `dueBy`, the time of the next attempt), `sent`, `failed` or
    `withheld`."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["notifications"]

    def record(self, notifications: Sequence[Notification], sent: Iterable[str]) -> Recorded:
        """Records those that are not recorded yet, and says which they are, and which the database refused.

        Those of the channels named in `sent` count as sent by their record, the others are due at once.
        """
        if not notifications:
            return Recorded([], [])
        instant = frozenset(sent)
        documents = [_document(notification, instant) for notification in notifications]
        faults: dict[int, int] = {}
        try:
            with reachable():
                self._collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            faults = {fault["index"]: fault["code"] for fault in error.details["writeErrors"]}
            if not PASSING.isdisjoint(faults.values()):
                raise
        return Recorded(
            [made for index, made in enumerate(notifications) if index not in faults],
            [notifications[index] for index, code in faults.items() if code != _DUPLICATE_KEY],
        )

    def claim(self, ids: Iterable[str], now: datetime, until: datetime) -> list[Notification]:
        """Takes those of the notifications that are due for delivery, alone until the given time."""
        claimed = []
        with reachable():
            for notification_id in ids:
                document = self._collection.find_one_and_update(
                    {"_id": notification_id, "dueBy": {"$lte": now}},
                    {"$set": {"dueBy": until}, "$inc": {"attempts": 1}},
                )
                if document:
                    claimed.append(_notification(document))
        return claimed

    def renew(self, ids: Collection[str], held: datetime, until: datetime) -> bool:
        """Moves the end of claims from `held`; False where one of them is another's by now."""
        with reachable():
            renewed = self._collection.update_many(
                {"_id": {"$in": list(ids)}, "dueBy": held}, {"$set": {"dueBy": until}}
            )
        return renewed.matched_count == len(ids)

    def close(self, notification_id: str, status: str, at: datetime, detail: str) -> None:
        """Ends a notification as `sent`, `failed` or `withheld`."""
        ended: Document = {"status": status, "endedAt": at}
        if detail:
            ended["detail"] = detail
        with reachable():
            self._collection.update_one({"_id": notification_id}, {"$set": ended, "$unset": {"dueBy": ""}})

    def postpone(self, notification_id: str, until: datetime, detail: str) -> None:
        """Sets the time of the next attempt."""
        with reachable():
            self._collection.update_one(
                {"_id": notification_id, "status": "pending"}, {"$set": {"dueBy": until, "detail": detail}}
            )

    def overdue(self, now: datetime, limit: int) -> list[str]:
        """The ids of notifications whose next attempt is due, longest first."""
        with reachable():
            found = self._collection.find({"dueBy": {"$lte": now}}, {"_id": 1}).sort("dueBy").limit(limit)
            return [document["_id"] for document in found]

    def purge(self, order_ids: Iterable[str]) -> None:
        """Removes all records of these orders."""
        with reachable():
            for order_id in order_ids:
                # Ids begin with the order's; ";" is the character after ":".
                self._collection.delete_many({"_id": {"$gte": f"{order_id}:", "$lt": f"{order_id};"}})


def _document(notification: Notification, instant: frozenset[str]) -> Document:
    document: Any = {"_id": notification["id"], **notification, "attempts": 0}
    del document["id"]
    if notification["channel"] in instant:
        return {**document, "status": "sent", "endedAt": notification["at"]}
    return {**document, "status": "pending", "dueBy": notification["at"]}


def _notification(document: Document) -> Notification:
    fields: Any = {key: document[key] for key in Notification.__annotations__ if key != "id"}
    fields["id"] = document["_id"]
    return fields
