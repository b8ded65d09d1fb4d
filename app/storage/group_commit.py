"""Gathers the inserts of concurrent requests into one, the way databases gather commits.

Whoever comes while a batch is on its way joins the next one, so a lone insert waits for nobody and a busy
process pays for one round trip and one journal flush per batch. Measured in `benchmarks/`.
"""

import threading
from collections import deque
from typing import Any

from bson.errors import BSONError
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, WriteError

_DUPLICATE_KEY = 11000
_UNFIT = (BSONError, UnicodeError, OverflowError)


class _Waiting:
    """One caller's document and, once its batch is through, what became of it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.done = False
        # Stands until the insert is confirmed, so that a leader that is killed confirms nothing.
        self.error: Exception | None = ConnectionFailure("the insert was interrupted")


class GroupCommit:
    """Inserts into one collection; safe under threads and greenlets."""

    def __init__(self, collection: Collection[dict[str, Any]], largest: int = 256) -> None:
        self._collection = collection
        self._largest = largest
        self._leading = threading.Lock()
        self._queue: deque[_Waiting] = deque()

    def insert(self, document: dict[str, Any]) -> None:
        """Returns once the document is durable; raises what a single insert of it would have raised."""
        waiting = _Waiting(document)
        self._queue.append(waiting)
        while not waiting.done:
            with self._leading:
                if not waiting.done:
                    size = min(self._largest, len(self._queue))
                    self._commit([self._queue.popleft() for _ in range(size)])
        if waiting.error is not None:
            raise waiting.error

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            self._collection.insert_many([waiting.document for waiting in batch], ordered=False)
            for waiting in batch:
                waiting.error = None
        except BulkWriteError as error:
            self._blame(batch, error)
        except _UNFIT as error:
            # One document that cannot be encoded keeps the whole batch from being sent.
            if len(batch) == 1:
                batch[0].error = error
            else:
                for waiting in batch:
                    self._commit([waiting])
        except Exception as error:
            for waiting in batch:
                waiting.error = error
        finally:
            for waiting in batch:
                waiting.done = True

    def _blame(self, batch: list[_Waiting], error: BulkWriteError) -> None:
        if not error.details.get("writeConcernErrors"):
            for waiting in batch:
                waiting.error = None
        for fault in error.details["writeErrors"]:
            kind = DuplicateKeyError if fault["code"] == _DUPLICATE_KEY else WriteError
            batch[fault["index"]].error = kind(fault["errmsg"], fault["code"], fault)
