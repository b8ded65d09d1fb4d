"""Updates of many documents. A locked or refused document neither delays the others nor stops them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pymongo
from pymongo import UpdateMany, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from app.errors import StockBusy
from app.mongo.database import WRITE_CONFLICT, Document, transact
from app.mongo.outages import PASSING, reports_outages

# Seconds. An update outside a transaction waits for a locked document, at most this long. After that the
# documents are updated in transactions, which fail at a lock at once.
_PROMPT = 1.0


@dataclass
class Updated:
    """The number of documents found, and the positions of the updates that were not made: a transaction
    locks the document, or the database refused the update."""

    found: int = 0
    locked: list[int] = field(default_factory=list)
    refused: dict[int, PyMongoError] = field(default_factory=dict)


@reports_outages
def update_each(
    collection: Collection[Document], updates: Sequence[UpdateOne | UpdateMany], seconds: float = _PROMPT
) -> Updated:
    """Makes the updates in one round trip, if that takes at most `seconds`.

    Updates of locked documents may be made twice. Raises DatabaseUnavailable.
    """
    if not updates:
        return Updated()
    try:
        with pymongo.timeout(seconds):
            return Updated(collection.bulk_write(list(updates), ordered=False).matched_count)
    except BulkWriteError as error:
        if not error.timeout:
            return Updated(error.details["nMatched"], refused=_refusals(error))
    except PyMongoError as error:
        if not error.timeout:
            raise
    return update_unlocked(collection, updates)


def update_unlocked(collection: Collection[Document], updates: Sequence[UpdateOne | UpdateMany]) -> Updated:
    """Makes the updates without waiting for any lock, in transactions. Raises DatabaseUnavailable.

    A process that dies meanwhile leaves its locks behind. So use this only for documents known to be
    locked.
    """
    result = Updated()
    _update(collection, updates, range(len(updates)), result)
    return result


@reports_outages
def locked(collection: Collection[Document], keys: Iterable[Any], touch: Document) -> set[Any]:
    """The keys of the documents that a transaction locks now. `touch` is an update that is rolled back.

    Raises DatabaseUnavailable.
    """
    found: set[Any] = set()
    with collection.database.client.start_session() as session:
        for key in keys:
            # One transaction per document keeps each lock as short as possible.
            session.start_transaction()
            try:
                collection.update_one({"_id": key}, touch, session=session)
            except OperationFailure as error:
                if error.code != WRITE_CONFLICT:
                    raise
                found.add(key)
            finally:
                session.abort_transaction()
    return found


def _update(
    collection: Collection[Document],
    updates: Sequence[UpdateOne | UpdateMany],
    positions: Sequence[int],
    result: Updated,
) -> None:
    """Makes the updates at these positions, halving them until the failing one is alone."""
    if not positions:
        return
    chosen = [updates[position] for position in positions]
    try:
        result.found += transact(
            collection.database,
            lambda session: collection.bulk_write(chosen, ordered=False, session=session).matched_count,
            patience=0,
        )
    except (StockBusy, BulkWriteError) as error:
        if len(positions) > 1:
            middle = len(positions) // 2
            _update(collection, updates, positions[:middle], result)
            _update(collection, updates, positions[middle:], result)
        elif isinstance(error, StockBusy):
            result.locked.append(positions[0])
        else:
            result.refused[positions[0]] = error


def _refusals(error: BulkWriteError) -> dict[int, PyMongoError]:
    faults = error.details["writeErrors"]
    if any(fault["code"] in PASSING for fault in faults):
        raise error
    return {fault["index"]: OperationFailure(fault.get("errmsg", ""), fault["code"]) for fault in faults}
