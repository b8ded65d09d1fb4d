"""Writes the event feed in a thread of its own, so that publishing never waits for a write of the feed.

The thread collects changes for a moment, since ten rows in one write cost little more than one.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from app.feed import service as feeding
from app.feed.store import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from app.orders.changes_store import Changed
    from app.services import Services

# Seconds: how long the thread collects changes, and how long `__exit__` waits for the last write.
_GATHERING = 0.1
_PATIENCE = 5.0
_MOST_AT_ONCE = 5_000
# Changes kept while the thread catches up with all orders, which may take minutes.
_MOST_WAITING = 200_000


class _Checkpoint(NamedTuple):
    """A resume token to store once every change before it is in the feed."""

    resume_token: Any


class FeedWriter:
    """Writes changes to the feed in the order of the calls; as a context it ends when all are written.

    An error ends the thread, and the next call raises it. With `catches_up` the thread first goes through all
    orders for events that the feed lacks.
    """

    def __init__(self, services: Services, *, catches_up: bool) -> None:
        self._services = services
        self._catches_up = catches_up
        self._given: queue.SimpleQueue[Sequence[Changed] | _Checkpoint | None] = queue.SimpleQueue()
        self._taken = self._written = 0
        self._ending = threading.Event()
        self._fault: Exception | None = None
        self._waiting_since: datetime | None = None
        self._thread = threading.Thread(target=self._work, name="feed-writer", daemon=True)

    def has_room(self) -> bool:
        """Whether the caller should hand over more changes now."""
        return self._taken - self._written < _MOST_WAITING

    def waiting_since(self) -> datetime | None:
        """The time of the oldest change in the current write; None if nothing is being written."""
        return self._waiting_since

    def write(self, changes: Sequence[Changed]) -> None:
        """Queues these changes. Raises the error that ended the thread, if any."""
        self._raise()
        if changes:
            self._taken += len(changes)
            self._given.put(changes)

    def remember(self, resume_token: Any) -> None:
        """Stores the resume token once all earlier changes are in the feed.

        Raises the error that ended the thread, if any.
        """
        self._raise()
        self._given.put(_Checkpoint(resume_token))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ending.set()
        self._given.put(None)
        self._thread.join(_PATIENCE)
        if kind is None:
            self._raise()

    def _raise(self) -> None:
        if self._fault:
            raise self._fault

    def _work(self) -> None:
        try:
            if self._catches_up and not feeding.catch_up(self._services.feed, self._ending.is_set):
                return
            while self._write_some():
                pass
        except Exception as error:
            self._fault = error

    def _write_some(self) -> bool:
        """Writes the changes that have arrived; False after the last ones."""
        given = [self._given.get()]
        self._ending.wait(_GATHERING)
        while not self._given.empty():
            given.append(self._given.get())
        changes = [
            change
            for some in given
            if some is not None and not isinstance(some, _Checkpoint)
            for change in some
        ]
        self._waiting_since = next((change.at for change in changes if change.at), None)
        entries = list(_entries(changes))
        for start in range(0, len(entries), _MOST_AT_ONCE):
            self._services.feed.store.append(entries[start : start + _MOST_AT_ONCE])
        self._written += len(changes)
        self._waiting_since = None
        checkpoints = [some for some in given if isinstance(some, _Checkpoint)]
        if checkpoints:
            self._services.changes.remember(checkpoints[-1].resume_token)
        return None not in given


def _entries(changes: Iterable[Changed]) -> Iterable[Entry]:
    for change in changes:
        for sequence, event_type in enumerate(change.event_types, change.first_sequence):
            yield Entry(change.order_id, sequence, event_type)
