"""Feeds the event feed in a thread of its own, so that publishing waits for no write of the feed.

What it is given is gathered for a moment, since ten rows in one write cost little more than one.
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

# Seconds: how long changes are gathered, and how long the end waits for the last of them.
_GATHERING = 0.1
_PATIENCE = 5.0
_MOST_AT_ONCE = 5_000
# Changes kept while all orders are gone through for what is missing, which may take minutes.
_MOST_WAITING = 200_000


class _Place(NamedTuple):
    """Where to go on from next time, once everything given before is fed."""

    token: Any


class Feeder:
    """Feeds changes in the order in which it is given them; a context that ends when all of them are fed.

    A fault ends it, and is raised to whoever gives it more. `catches_up` has it go through all orders first.
    """

    def __init__(self, services: Services, *, catches_up: bool) -> None:
        self._services = services
        self._catches_up = catches_up
        self._given: queue.SimpleQueue[Sequence[Changed] | _Place | None] = queue.SimpleQueue()
        self._taken = self._fed = 0
        self._ending = threading.Event()
        self._fault: Exception | None = None
        self._waiting_since: datetime | None = None
        self._thread = threading.Thread(target=self._work, name="feeder", daemon=True)

    def has_room(self) -> bool:
        """Whether more changes should be given now."""
        return self._taken - self._fed < _MOST_WAITING

    def waiting_since(self) -> datetime | None:
        """When the oldest change happened that is being fed; None where all are fed."""
        return self._waiting_since

    def feed(self, changes: Sequence[Changed]) -> None:
        """Feeds these changes, soon. Raises what ended the feeding."""
        self._raise()
        if changes:
            self._taken += len(changes)
            self._given.put(changes)

    def remember(self, place: Any) -> None:
        """Remembers the place once all changes given before are fed. Raises what ended the feeding."""
        self._raise()
        self._given.put(_Place(place))

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
            while self._feed_some():
                pass
        except Exception as error:
            self._fault = error

    def _feed_some(self) -> bool:
        """Feeds what has come in; False after the last."""
        given = [self._given.get()]
        self._ending.wait(_GATHERING)
        while not self._given.empty():
            given.append(self._given.get())
        changes = [
            change for some in given if some is not None and not isinstance(some, _Place) for change in some
        ]
        self._waiting_since = next((change.at for change in changes if change.at), None)
        entries = list(_entries(changes))
        for start in range(0, len(entries), _MOST_AT_ONCE):
            self._services.feed.store.append(entries[start : start + _MOST_AT_ONCE])
        self._fed += len(changes)
        self._waiting_since = None
        places = [some for some in given if isinstance(some, _Place)]
        if places:
            self._services.changes.remember(places[-1].token)
        return None not in given


def _entries(changes: Iterable[Changed]) -> Iterable[Entry]:
    for change in changes:
        for sequence, event_type in enumerate(change.event_types, change.first_sequence):
            yield Entry(change.order_id, sequence, event_type)
