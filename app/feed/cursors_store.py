"""The key that encrypts the feed's cursors. It is created once and stored in the database for all
processes."""

from secrets import token_bytes
from typing import Any, NamedTuple

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from app.mongo.database import Document
from app.mongo.outages import reports_outages

_ID = "feed"
_KEY_BYTES = 32


class Sealing(NamedTuple):
    """The key, and the feed's last position when the key was created. Plain cursors are never beyond that."""

    key: bytes
    open_until: int

    def __repr__(self) -> str:
        """A text that does not contain the key."""
        return f"Sealing(open_until={self.open_until})"


@reports_outages
class FeedCursors:
    """Reads the key once, and caches it in this process."""

    _sealing: Sealing | None = None

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["feed_cursors"]
        self._rows = database["feed"]

    def sealing(self) -> Sealing:
        """The key of this database. The first process that needs it creates it."""
        if self._sealing is None:
            made = self._collection.find_one({"_id": _ID}) or self._made()
            self._sealing = Sealing(made["key"], made["openUntil"])
        return self._sealing

    def _made(self) -> Any:
        last = self._rows.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        fresh = {"key": token_bytes(_KEY_BYTES), "openUntil": last["_id"] if last else 0}
        try:
            return self._collection.find_one_and_update(
                {"_id": _ID}, {"$setOnInsert": fresh}, upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:
            # Another process has just created it.
            return self._collection.find_one({"_id": _ID}) or fresh
