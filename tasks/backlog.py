"""What the relay has read and not yet published: ids by step, gathered while the queue of the step is busy.

A queue is given its next message when it has hardly any left. So an idle service handles an order at once,
and a busy one handles more orders per message the further it is behind.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from app.orders.changes_store import Changed
from app.orders.steps import set_in_motion
from app.orders.sweeping import BATCH

_MOST_GENERATIONS = 4
# Ids kept per step and generation while no worker takes them; the sweep finds those beyond.
MOST_WAITING = 20_000


class _Generation:
    """What came in until a place in the stream, less what is published since."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.owed: dict[str, dict[str, datetime | None]] = {}


class Backlog:
    """Keeps the ids by step, without repetition, in the order of their coming.

    Generations tell up to which place all is published although new ids keep coming.
    """

    def __init__(self, place: Any) -> None:
        self.settled = place
        self._generations = [_Generation(place)]

    def __bool__(self) -> bool:
        return any(generation.owed for generation in self._generations)

    def add(self, changes: Iterable[Changed]) -> None:
        """Takes in what the changes set in motion."""
        newest = self._generations[-1]
        for change in changes:
            newest.place = change.place
            for name in set_in_motion(change.event_types):
                waiting = newest.owed.setdefault(name, {})
                if len(waiting) < MOST_WAITING:
                    waiting.setdefault(change.order_id, change.at)

    def waiting_since(self) -> datetime | None:
        """When the oldest change happened that is not published; None where all are."""
        oldest = [next(iter(ids.values())) for one in self._generations for ids in one.owed.values()]
        return min((at for at in oldest if at), default=None)

    def publish(self, is_free: Callable[[str], bool], send: Callable[[str, list[str]], None]) -> None:
        """Sends one batch of every step whose queue is free."""
        for generation in self._generations:
            for name in [name for name in generation.owed if is_free(name)]:
                ids = generation.owed[name]
                batch = list(ids)[:BATCH]
                send(name, batch)
                for order_id in batch:
                    del ids[order_id]
                if not ids:
                    del generation.owed[name]

    def age(self) -> None:
        """Draws a line: moves `settled` up to what is published, and begins a new generation."""
        while not self._generations[0].owed:
            self.settled = self._generations[0].place
            if len(self._generations) == 1:
                return
            del self._generations[0]
        if len(self._generations) < _MOST_GENERATIONS and self._generations[-1].owed:
            self._generations.append(_Generation(self._generations[-1].place))
