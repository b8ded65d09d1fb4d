"""How many mails went to an address, or for a caller, within the current hour.

It holds no address and no user: both are hashed with a key of this database. The counts of an hour are
removed soon after it.
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
    """An hour of a name begins with its first mail. A mail counts once, however often it is tried."""

    def __init__(self, database: Database[Document]) -> None:
        self._durable = database["mail_counts"]
        # A count that a failover loses lets some more mails out, and waits for no journal.
        self._collection = self._durable.with_options(write_concern=WriteConcern(1, j=False))

    def admit(self, name: str, mail_id: str, most: int, now: datetime) -> bool:
        """Counts the mail; False where the hour has `most` others already."""
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
                # Another process counts the first mail of this name.
                continue
            return found is not None and mail_id in found["ids"]

    def forget(self, before: datetime) -> None:
        """Removes the counts of the hours that ended before that time."""
        self._durable.delete_many({"until": {"$lt": before}})

    def _hashed(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        """The key of this database, made by the process that needs it first."""
        made: Any = {"$setOnInsert": {"key": secrets.token_bytes(32)}}
        while True:
            try:
                found = self._durable.find_one_and_update(
                    {"_id": _KEY}, made, upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                continue
            return bytes(found["key"])  # type: ignore[index]
