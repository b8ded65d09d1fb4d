"""The recorded notifications: one record per order, event and channel, under a unique key."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pymongo.database import Database

from app.mongo import due_queue
from app.mongo.database import Document
from app.mongo.documents import DUPLICATE_KEY, insert_each, to_document, to_record
from app.mongo.outages import reports_outages
from app.notifications.model import Notification


class Recorded(NamedTuple):
    """The newly recorded notifications, and those that the database refused."""

    made: list[Notification]
    refused: list[Notification]


@reports_outages
class Notifications:
    """Stores notifications and their progress.

    A record's `status` is `pending` (with `dueBy`, the time of the next attempt), `sent`, `failed` or
    `withheld`.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["notifications"]

    def record(self, notifications: Sequence[Notification], sent: Iterable[str]) -> Recorded:
        """Records the notifications that are not recorded yet. Returns the new ones and the refused ones.

        Notifications of the channels in `sent` are recorded as sent. The others are due at once.
        """
        instant = frozenset(sent)
        documents = [_document(notification, instant) for notification in notifications]
        faults = insert_each(self._collection, documents)
        return Recorded(
            [made for index, made in enumerate(notifications) if index not in faults],
            [notifications[index] for index, code in faults.items() if code != DUPLICATE_KEY],
        )

    def claim(self, ids: Iterable[str], now: datetime, until: datetime) -> list[Notification]:
        """Claims those of the notifications that are due, until the given time."""
        claimed = (due_queue.claim(self._collection, one, now, until) for one in ids)
        return [_notification(document) for document in claimed if document]

    def renew(self, ids: Collection[str], held: datetime, until: datetime) -> bool:
        """Moves the end of claims from `held` to `until`. False if another worker has one of them now."""
        renewed = self._collection.update_many(
            {"_id": {"$in": list(ids)}, "dueBy": held}, {"$set": {"dueBy": until}}
        )
        return renewed.matched_count == len(ids)

    def close(self, notification_id: str, status: str, at: datetime, detail: str) -> None:
        """Ends a notification as `sent`, `failed` or `withheld`."""
        ended: Document = {"status": status, "endedAt": at}
        if detail:
            ended["detail"] = detail
        self._collection.update_one({"_id": notification_id}, {"$set": ended, "$unset": {"dueBy": ""}})

    def postpone(self, notification_id: str, until: datetime, detail: str) -> None:
        """Sets the time of the next attempt."""
        due_queue.postpone(self._collection, notification_id, until, detail)

    def overdue(self, now: datetime, limit: int) -> list[str]:
        """The ids of notifications with a due attempt, the longest due first."""
        return due_queue.due(self._collection, now, limit)

    def states(self, order_ids: Iterable[str], limit: int) -> list[tuple[str, dict[str, Any]]]:
        """Up to `limit` order ids with the `channel`, `state` and `nextAttempt` of a notification."""
        among: Document = {"$or": [_of(order_id) for order_id in order_ids]}
        found = self._collection.find(among, {"_id": 0, "orderId": 1, "channel": 1, "status": 1, "dueBy": 1})
        return [
            (record["orderId"], due_queue.state(record["channel"], record)) for record in found.limit(limit)
        ]

    def purge(self, order_ids: Iterable[str]) -> None:
        """Removes all records of these orders."""
        for order_id in order_ids:
            self._collection.delete_many(_of(order_id))


def _of(order_id: str) -> Document:
    # Ids begin with the order's id and ":". The character after ":" is ";".
    return {"_id": {"$gte": f"{order_id}:", "$lt": f"{order_id};"}}


def _document(notification: Notification, instant: frozenset[str]) -> Document:
    document = to_document(notification) | {"attempts": 0}
    if notification["channel"] in instant:
        return {**document, "status": "sent", "endedAt": notification["at"]}
    return {**document, "status": "pending", "dueBy": notification["at"]}


def _notification(document: Document) -> Notification:
    record = to_record(document)
    return {key: record[key] for key in Notification.__annotations__}  # type: ignore[return-value]
