"""The change stream of the orders, from a place that is remembered."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

import bson
import structlog
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.mongo.database import Document, reachable
from app.orders.documents_store import STRICT, raw_orders

log = structlog.get_logger(__name__)

_BATCH = 1_000
# Under this name the place tells of what is both published and fed. (Up to 1.0 another told of publishing.)
_PLACE = "events"

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
            "updateDescription.updatedFields": 1,
        }
    },
]


class PlaceLost(Exception):
    """The stream cannot be taken up at the remembered place; what happened since must be read another way."""


class Changed(NamedTuple):
    """An order that changed, the types of the events of that change, the sequence of the first, and when."""

    order_id: str
    event_types: list[str]
    place: Any
    first_sequence: int = 1
    at: datetime | None = None


class OrderChanges:
    """Follows the changes and keeps the place reached in the collection `relay`."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._places = database["relay"]

    def place(self) -> Any:
        """The place last remembered; None where there is none."""
        with reachable():
            document = self._places.find_one({"_id": _PLACE})
        return document["place"] if document else None

    def remember(self, place: Any) -> None:
        """Remembers how far the changes have been dealt with."""
        with reachable():
            self._places.update_one({"_id": _PLACE}, {"$set": {"place": place}}, upsert=True)

    def forget(self) -> None:
        """Forgets the place, so that whoever comes next catches up."""
        with reachable():
            self._places.delete_one({"_id": _PLACE})

    def present_place(self) -> Any:
        """The place of now. Whatever changed before it can be read from now on.

        The server counts from the last change it has, which a majority may not have yet; once the majority
        has what is written after it, it has that change.
        """
        with reachable():
            with raw_orders(self._database).watch(_PIPELINE) as stream:
                place = _decoded(stream.resume_token)
            self._places.update_one({"_id": "present"}, {"$set": {"place": place}}, upsert=True)
        return place

    @contextmanager
    def follow(self, place: Any) -> Iterator["Follower"]:
        """Follows the changes since the place, in the background, for as long as the context lasts."""
        follower = Follower(raw_orders(self._database), place)
        try:
            yield follower
        finally:
            follower.stop()


class Follower:
    """Reads ahead of whoever takes, up to a bound, so that what is taken comes in batches."""

    def __init__(self, orders: Collection[RawBSONDocument], place: Any) -> None:
        self._arrived: queue.Queue[Changed | Exception] = queue.Queue(maxsize=4 * _BATCH)
        self._stopping = threading.Event()
        threading.Thread(target=self._read, args=(orders, place), daemon=True).start()

    def take(self, timeout: float) -> list[Changed]:
        """The changes that have arrived, waiting up to `timeout` seconds for the first.

        Raises PlaceLost, DatabaseUnavailable.
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
                batch.append(item)
                if len(batch) == _BATCH:
                    return batch
                item = self._arrived.get_nowait()
        except queue.Empty:
            return batch

    def stop(self) -> None:
        """Ends the reading."""
        self._stopping.set()

    def _read(self, orders: Collection[RawBSONDocument], place: Any) -> None:
        try:
            with (
                reachable(),
                orders.watch(
                    _PIPELINE, resume_after=place, max_await_time_ms=500, batch_size=_BATCH
                ) as stream,
            ):
                while not self._stopping.is_set():
                    change = stream.try_next()
                    if change is not None:
                        self._put(_changed(change))
                    elif not stream.alive:
                        # As after a restore over what was there: the stream is over, and says nothing of it.
                        self._put(PlaceLost("The collection was dropped or renamed."))
                        return
        except OperationFailure as error:
            # The oplog does not reach back so far, the place is another server's, or it is damaged: whatever
            # the server has against it, it will say so again.
            self._put(PlaceLost(str(error)))
        except Exception as error:
            self._put(error)

    def _put(self, item: Changed | Exception) -> None:
        while not self._stopping.is_set():
            with suppress(queue.Full):
                self._arrived.put(item, timeout=0.5)
                return


def _changed(raw: RawBSONDocument) -> Changed:
    """The change in a document of the stream. One that cannot be read names no event, so the stream goes on;
    the sweep finds what the order owes."""
    order_id, place = str(raw["documentKey"]["_id"]), _decoded(raw["_id"])
    try:
        events = _events(_decoded(raw))
        types = [event["type"] for event in events]
        first, at = (events[0]["sequence"], events[0].get("at")) if events else (1, None)
        if not all(isinstance(kind, str) for kind in types) or not isinstance(first, int):
            raise TypeError("not the form of an event")
    except Exception:
        log.exception("change of an order cannot be read", order_id=order_id)
        return Changed(order_id, [], place)
    return Changed(order_id, types, place, first, at if isinstance(at, datetime) else None)


def _events(change: Document) -> list[Document]:
    if created := change.get("fullDocument"):
        return created.get("events", [])
    updated = change["updateDescription"]["updatedFields"]
    return [value for field, value in updated.items() if field.startswith("events.")]


def _decoded(raw: Any) -> Any:
    return bson.decode(raw.raw, STRICT)
