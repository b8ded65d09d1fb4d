"""The change stream of the orders, followed from a stored resume token."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from time import monotonic
from typing import Any, NamedTuple

import bson
import structlog
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.errors import DatabaseUnavailable
from app.mongo.database import Document
from app.mongo.outages import reports_outages
from app.orders.documents_store import LENIENT, STRICT, raw_orders

log = structlog.get_logger(__name__)

_BATCH = 1_000
# Batches read and not yet taken.
_MOST_WAITING = 4
# Seconds from one read to the next, at least. A change that comes alone is read at once. Of many, several
# share a read, which costs both sides more than the change in it.
_SPACING = 0.005
# The id of the resume token up to which all changes are published and in the feed. (Releases up to 1.0 used
# another id for what was published alone.)
_CHECKPOINT = "events"

# An insert shows the whole order, a change only what it set: `events.4` is an event pushed to the log.
_PIPELINE: list[Document] = [
    {"$match": {"operationType": {"$in": ["insert", "update"]}}},
    {
        "$match": {
            "$or": [
                {"operationType": "insert"},
                {"updateDescription.updatedFields.version": {"$exists": True}},
            ]
        }
    },
    {
        "$project": {
            "documentKey._id": 1,
            "fullDocument.events.type": 1,
            "fullDocument.events.sequence": 1,
            "fullDocument.events.at": 1,
            "fullDocument.stockFirst": 1,
            "updateDescription.updatedFields": 1,
        }
    },
]


class ResumeTokenLost(Exception):
    """The stream cannot resume from the stored token; the changes since then must be read another way."""


class Changed(NamedTuple):
    """One change of an order: the types of its new events, the first one's sequence, and its time.

    `carried` says that the worker that wrote it goes on with the order. `stock_first` says that a new order
    takes its stock before the payment.
    """

    order_id: str
    event_types: list[str]
    resume_token: Any
    first_sequence: int = 1
    at: datetime | None = None
    carried: bool = False
    stock_first: bool = False


@reports_outages
class OrderChanges:
    """Follows the changes, and keeps the resume token in the collection `relay`, in the field `place`."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._tokens = database["relay"]

    def resume_token(self) -> Any:
        """The stored resume token; None before the first."""
        document = self._tokens.find_one({"_id": _CHECKPOINT})
        return document["place"] if document else None

    def remember(self, resume_token: Any) -> None:
        """Stores the token of the last change that is dealt with."""
        self._tokens.update_one({"_id": _CHECKPOINT}, {"$set": {"place": resume_token}}, upsert=True)

    def forget(self) -> None:
        """Removes the stored token, so that the next relay catches up with all orders."""
        self._tokens.delete_one({"_id": _CHECKPOINT})

    def present_resume_token(self) -> Any:
        """The token of now. Every change before it is readable by a majority from now on.

        The server counts from its own last change, which a majority may not have yet. Once a majority has
        the write that follows, it has that change too.
        """
        with self._database["orders"].watch(_PIPELINE) as stream:
            token = stream.resume_token
        self._tokens.update_one({"_id": "present"}, {"$set": {"place": token}}, upsert=True)
        return token

    @contextmanager
    def follow(self, resume_token: Any) -> Iterator["Follower"]:
        """Follows the changes after the token, in the background, for as long as the context lasts."""
        follower = Follower(raw_orders(self._database), resume_token)
        try:
            yield follower
        finally:
            follower.stop()


class Follower:
    """Reads ahead of its caller, up to a bound. What arrives together is handed over together."""

    def __init__(self, orders: Collection[RawBSONDocument], resume_token: Any) -> None:
        self._arrived: queue.Queue[list[Changed] | Exception] = queue.Queue(maxsize=_MOST_WAITING)
        self._stopping = threading.Event()
        threading.Thread(target=self._read, args=(orders, resume_token), daemon=True).start()

    def take(self, timeout: float) -> list[Changed]:
        """The changes that have arrived. Waits up to `timeout` seconds for the first.

        Raises ResumeTokenLost, DatabaseUnavailable.
        """
        batch: list[Changed] = []
        try:
            item = self._arrived.get(timeout=timeout)
            while True:
                if isinstance(item, Exception):
                    self._arrived.put(item)
                    if batch:
                        return batch
                    raise item
                batch += item
                if len(batch) >= _BATCH:
                    return batch
                item = self._arrived.get_nowait()
        except queue.Empty:
            return batch

    def stop(self) -> None:
        """Ends the reading."""
        self._stopping.set()

    def _read(self, orders: Collection[RawBSONDocument], resume_token: Any) -> None:
        try:
            self._follow(orders, resume_token)
        except OperationFailure as error:
            # The oplog does not reach back so far, or the token is damaged or from another server. The
            # server would refuse the same token again.
            passing = error.has_error_label("ResumableChangeStreamError")
            self._put(DatabaseUnavailable(str(error)) if passing else ResumeTokenLost(str(error)))
        except Exception as error:
            self._put(error)

    @reports_outages
    def _follow(self, orders: Collection[RawBSONDocument], resume_token: Any) -> None:
        stages = [{"$changeStream": {"resumeAfter": resume_token}}, *_PIPELINE]
        found: Any = orders.aggregate_raw_batches(stages, maxAwaitTimeMS=500, batchSize=_BATCH)
        with found as stream:
            while not self._stopping.is_set():
                began = monotonic()
                batch = stream.try_next()
                if batch is not None:
                    self._put([_changed(change) for change in _documents(batch)])
                elif not stream.alive:
                    # A restore drops the collection first. The stream then ends without an error.
                    raise ResumeTokenLost("The collection was dropped or renamed.")
                self._stopping.wait(began + _SPACING - monotonic())

    def _put(self, item: list[Changed] | Exception) -> None:
        while not self._stopping.is_set():
            with suppress(queue.Full):
                self._arrived.put(item, timeout=0.5)
                return


def _documents(batch: bytes) -> list[Any]:
    """The documents of a batch of the stream; not decoded if one of them cannot be."""
    try:
        return bson.decode_all(batch, STRICT)
    except InvalidBSON:
        return bson.decode_all(batch, LENIENT)


def _changed(found: Document | RawBSONDocument) -> Changed:
    """The change in a document of the stream.

    A change that cannot be read has no events, so the stream continues. The sweep finds what the order owes.
    """
    order_id, token = str(found["documentKey"]["_id"]), _decoded(found["_id"])
    try:
        change = _decoded(found)
        events = _events(change)
        carried = "carried" in change.get("updateDescription", {}).get("updatedFields", {})
        stock_first = "stockFirst" in change.get("fullDocument", {})
        types = [event["type"] for event in events]
        first, at = (events[0]["sequence"], events[0].get("at")) if events else (1, None)
        if not all(isinstance(kind, str) for kind in types) or not isinstance(first, int):
            raise TypeError("not the form of an event")
    except Exception:
        log.exception("change of an order cannot be read", order_id=order_id)
        return Changed(order_id, [], token)
    moment = at if isinstance(at, datetime) else None
    return Changed(order_id, types, token, first, moment, carried, stock_first)


def _events(change: Document) -> list[Document]:
    if created := change.get("fullDocument"):
        return created.get("events", [])
    updated = change["updateDescription"]["updatedFields"]
    return [value for field, value in updated.items() if field.startswith("events.")]


def _decoded(found: Any) -> Any:
    return bson.decode(found.raw, STRICT) if isinstance(found, RawBSONDocument) else found
