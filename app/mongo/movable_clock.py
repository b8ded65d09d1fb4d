"""The clock of a service under test: the database's time and an offset, which every process reads from the
database.

While one call moves the time, the work of all other processes stands still, and it starts to move only once
their work has come to an end. So nothing that takes a moment sees days pass meanwhile.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any

from pymongo import ReturnDocument, WriteConcern
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from app.clock import Clock
from app.errors import ClockIsMoving, DatabaseUnavailable
from app.mongo.database import Document
from app.mongo.outages import reports_outages

# How long the right to move the time outlives its holder, and how often it is renewed, in seconds.
_LEASE = timedelta(seconds=10)
_RENEWAL = 2.0
# How long the time waits for work that has begun. After that, its process counts as dead.
_LONGEST_WORK = timedelta(seconds=15)
_POLL = 0.02

_CLOCK = {"_id": "clock"}
_MILLISECOND = timedelta(milliseconds=1)


@reports_outages
class ClockRecord:
    """The one record about the time: `offset` in milliseconds, `target` while it is not reached, and the work
    that keeps the time from being moved.

    `since` is the time at which a call began whose events were not answered.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["test_clock"]
        # A later write that a majority has brings the earlier ones along. So a time that a failover loses has
        # left no trace, and nobody needs notes of work by then.
        self._brief = self._collection.with_options(
            write_concern=WriteConcern(w=1), read_concern=ReadConcern("local")
        )

    def get(self) -> Document:
        """The record; empty before the time was first moved."""
        return self._collection.find_one(_CLOCK) or {}

    def offset(self) -> timedelta:
        """How far the time is ahead."""
        found = self._brief.find_one(_CLOCK, {"offset": 1})
        return found.get("offset", 0) * _MILLISECOND if found else timedelta()

    def add_work(self, name: str, now: datetime, until: datetime) -> bool:
        """Notes work that has begun. False while the time is being moved."""
        try:
            self._brief.update_one(_not_held(now), {"$set": {f"work.{name}": until}}, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    def end_work(self, name: str) -> None:
        """Removes the note."""
        self._brief.update_one(_CLOCK, {"$unset": {f"work.{name}": ""}})

    def is_worked(self, now: datetime) -> bool:
        """Whether work that has begun is not over."""
        found = self._brief.find_one(_CLOCK, {"work": 1}) or {}
        return any(until > now for until in found.get("work", {}).values())

    def take(self, holder: str, now: datetime, until: datetime) -> Document:
        """Takes the right to move the time, and returns the record. Raises ClockIsMoving."""
        try:
            found = self._collection.find_one_and_update(
                _not_held(now),
                {"$set": {"holder": holder, "heldUntil": until}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        except DuplicateKeyError as error:
            raise ClockIsMoving from error
        return found or {}

    def move(self, holder: str, offset: timedelta) -> bool:
        """Sets the offset. False if the holder has lost the right to move the time."""
        ahead = {"$set": {"offset": round(offset / _MILLISECOND)}}
        return self._brief.update_one({**_CLOCK, "holder": holder}, ahead).matched_count == 1

    def set(self, holder: str, fields: Document, *unset: str) -> bool:
        """Sets and removes fields. False if the holder has lost the right to move the time."""
        update = {"$set": fields, "$unset": dict.fromkeys(unset, "")}
        changes = {name: part for name, part in update.items() if part}
        return self._collection.update_one({**_CLOCK, "holder": holder}, changes).matched_count == 1


class MovableClock:
    """A clock that `moving` moves. `real` gives the time without the offset."""

    def __init__(self, real: Clock, record: ClockRecord) -> None:
        self.real = real
        self.record = record
        # The offset while this process moves the time, and so need not ask for it.
        self.own_offset: timedelta | None = None

    def __call__(self) -> datetime:
        """The time that all processes agree on. Raises DatabaseUnavailable."""
        own = self.own_offset
        return self.real() + (self.record.offset() if own is None else own)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Keeps the time from being moved for the duration of some work. Waits while it is being moved."""
        name = token_hex(8)
        while not self.record.add_work(name, self.real(), self.real() + _LONGEST_WORK):
            time.sleep(_POLL)
        try:
            yield
        finally:
            with suppress(DatabaseUnavailable):
                self.record.end_work(name)

    @contextmanager
    def moving(self) -> Iterator["Mover"]:
        """Moves the time. Raises ClockIsMoving while another call does."""
        mover = Mover(self)
        try:
            yield mover
        finally:
            mover.end()


class Mover:
    """The right to move the time, which a thread renews until `end`."""

    def __init__(self, clock: MovableClock) -> None:
        self._clock = clock
        self._holder = token_hex(8)
        now = clock.real()
        self.found: Any = clock.record.take(self._holder, now, now + _LEASE)
        self._offset = clock.own_offset = self.found.get("offset", 0) * _MILLISECOND
        self._over = threading.Event()
        threading.Thread(target=self._renew, name="test-clock", daemon=True).start()

    def await_work(self) -> None:
        """Returns when the work of all other processes has come to an end."""
        while self._clock.record.is_worked(self._clock.real()):
            time.sleep(_POLL)
        # Dead processes never remove their notes.
        self.note("work")

    def to(self, moment: datetime) -> None:
        """Moves the time forward to this moment; does nothing if it is that late already."""
        ahead = moment - self._clock.real()
        if ahead > self._offset:
            if not self._clock.record.move(self._holder, ahead):
                raise ClockIsMoving
            self._offset = self._clock.own_offset = ahead

    def note(self, *unset: str, **fields: Any) -> None:
        """Stores fields of the record. Raises ClockIsMoving if another call moves the time by now."""
        if not self._clock.record.set(self._holder, fields, *unset):
            raise ClockIsMoving

    def end(self) -> None:
        """Gives up the right to move the time."""
        self._over.set()
        self._clock.own_offset = None
        with suppress(DatabaseUnavailable):
            self._clock.record.set(self._holder, {}, "holder", "heldUntil")

    def _renew(self) -> None:
        while not self._over.wait(_RENEWAL):
            with suppress(DatabaseUnavailable):
                if not self._clock.record.set(self._holder, {"heldUntil": self._clock.real() + _LEASE}):
                    return


def _not_held(now: datetime) -> Document:
    return {**_CLOCK, "$or": [{"holder": {"$exists": False}}, {"heldUntil": {"$lte": now}}]}
