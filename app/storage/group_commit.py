"""Gathers the inserts of concurrent requests into one, the way databases gather commits.

Whoever comes while a batch is on its way joins the next one, so a lone insert waits for nobody and a busy
process pays for one round trip and one journal flush per batch. Measured in `benchmarks/`.
"""

import threading
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, WriteError

_DUPLICATE_KEY = 11000


class _Waiting:
    """One caller's document and, once its batch is through, what became of it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.done = False
        self.error: Exception | None = None


class GroupCommit:
    """Inserts into one collection; safe under threads and greenlets."""

    def __init__(self, collection: Collection[dict[str, Any]], largest: int = 256) -> None:
        self._collection = collection
        self._largest = largest
        self._leading = threading.Lock()
        self._queue: list[_Waiting] = []

    def insert(self, document: dict[str, Any]) -> None:
        """Returns once the document is durable; raises what a single insert of it would have raised."""
        waiting = _Waiting(document)
        self._queue.append(waiting)
        while not waiting.done:
            with self._leading:
                if not waiting.done:
                    batch, self._queue = self._queue[: self._largest], self._queue[self._largest :]
                    self._commit(batch)
        if waiting.error is not None:
            raise waiting.error

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            self._collection.insert_many([waiting.document for waiting in batch], ordered=False)
        except BulkWriteError as error:
            self._blame(batch, error)
        except ConnectionFailure as error:
            for waiting in batch:
                waiting.error = error
        except Exception as error:
            # A document that cannot even be encoded fails the whole batch before it is sent.
            if len(batch) == 1:
                batch[0].error = error
            else:
                for waiting in batch:
                    self._commit([waiting])
        finally:
            for waiting in batch:
                waiting.done = True

    def _blame(self, batch: list[_Waiting], error: BulkWriteError) -> None:
        unconfirmed = error.details.get("writeConcernErrors")
        if unconfirmed:
            for waiting in batch:
                waiting.error = ConnectionFailure(str(unconfirmed[0].get("errmsg")))
        for fault in error.details["writeErrors"]:
            kind = DuplicateKeyError if fault["code"] == _DUPLICATE_KEY else WriteError
            batch[fault["index"]].error = kind(fault["errmsg"], fault["code"], fault)
