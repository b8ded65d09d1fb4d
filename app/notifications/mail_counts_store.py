"""Counts the mails to an address, or for a caller, within the current hour.

It stores no addresses and no user ids: both are hashed with a key of this database. Counts are removed soon
after their hour.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from app.mongo.database import Document
from app.mongo.outages import reports_outages

HOUR = timedelta(hours=1)
_KEY = "key"


@reports_outages
class MailCounts:
    """Counts mails by name. A name's hour begins with its first mail. Retries of a mail do not count
    again."""

    def __init__(self, database: Database[Document]) -> None:
        self._durable = database["mail_counts"]
        # Counts do not wait for the journal. If a failover loses one, only a few more mails are sent.
        self._collection = self._durable.with_options(write_concern=WriteConcern(1, j=False))

    def admit(self, name: str, mail_id: str, most: int, now: datetime) -> bool:
        """Counts the mail. False if the hour already has `most` other mails."""
        hour_runs = {"$gt": ["$until", now]}
        counted: Document = {"$cond": [hour_runs, "$ids", []]}
        new = {"$literal": mail_id}
        has_room = {"$or": [{"$in": [new, counted]}, {"$lt": [{"$size": counted}, most]}]}
        update = {
            "until": {"$cond": [hour_runs, "$until", now + HOUR]},
            "ids": {"$cond": [has_room, {"$setUnion": [counted, [new]]}, counted]},
        }
        while True:
            try:
                found = self._collection.find_one_and_update(
                    {"_id": self._hashed(name)},
                    [{"$set": update}],
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:
                # Another process has just counted the first mail of this name.
                continue
            return found is not None and mail_id in found["ids"]

    def forget(self, before: datetime) -> None:
        """Removes the counts of hours that ended before this time."""
        self._durable.delete_many({"until": {"$lt": before}})

    def _hashed(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        """The key of this database. The first process that needs it creates it."""
        made: Any = {"$setOnInsert": {"key": secrets.token_bytes(32)}}
        while True:
            try:
                found = self._durable.find_one_and_update(
                    {"_id": _KEY}, made, upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                continue
            return bytes(found["key"])  # type: ignore[index]
