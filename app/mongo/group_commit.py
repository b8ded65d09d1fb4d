"""Inserts of concurrent requests in one command. Each caller gets the result of its own document."""

from collections.abc import Sequence
from typing import Any

from bson.errors import BSONError
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, WriteError

from app.mongo.documents import DUPLICATE_KEY
from app.mongo.gathering import Gather

_UNFIT = (BSONError, UnicodeError, OverflowError)

Outcomes = list[Exception | None]


class GroupCommit:
    """Inserts into one collection."""

    def __init__(self, collection: Collection[dict[str, Any]], largest: int = 256) -> None:
        self._collection = collection
        self._gather: Gather[dict[str, Any], None] = Gather(self._commit, largest)

    def insert(self, document: dict[str, Any]) -> None:
        """Returns once the document is durable. Raises the error that a single insert would raise."""
        self._gather(document)

    def _commit(self, documents: Sequence[dict[str, Any]]) -> Outcomes:
        try:
            self._collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            return _blame(len(documents), error)
        except _UNFIT as error:
            # If one document cannot be encoded, the driver sends none of the batch.
            if len(documents) == 1:
                return [error]
            return [outcome for document in documents for outcome in self._commit([document])]
        return [None] * len(documents)


def _blame(number: int, error: BulkWriteError) -> Outcomes:
    unconfirmed = error.details.get("writeConcernErrors")
    outcomes: Outcomes = [ConnectionFailure("the insert was not confirmed") if unconfirmed else None] * number
    for fault in error.details["writeErrors"]:
        # `op` is the whole document. The error's text would bring it into a log.
        fault.pop("op", None)
        kind = DuplicateKeyError if fault["code"] == DUPLICATE_KEY else WriteError
        if unconfirmed and kind is DuplicateKeyError:
            # The existing document is not confirmed by a majority either, so no read could return it.
            continue
        outcomes[fault["index"]] = kind(fault["errmsg"], fault["code"], fault)
    return outcomes
