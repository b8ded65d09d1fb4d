"""The changes that the relay has read and not yet published: order ids by step.

A queue gets its next message when it is almost empty. So an idle service handles each order at once, and a
busy service puts more orders into one message the further it is behind.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from app.orders.changes_store import Changed
from app.orders.steps import to_send
from app.orders.sweeping import BATCH

_MOST_GENERATIONS = 4
# Ids kept per step and generation while no worker takes them. The sweep finds the orders beyond that.
MOST_WAITING = 20_000


class _Generation:
    """The changes read up to one resume token, without those published since."""

    def __init__(self, resume_token: Any) -> None:
        self.resume_token = resume_token
        self.owed: dict[str, dict[str, datetime | None]] = {}


class Backlog:
    """Keeps the ids by step, without repetition, in the order in which they arrive.

    `checkpoint` is a resume token: everything up to it is published. Generations let it advance while new
    ids keep arriving.
    """

    def __init__(self, resume_token: Any) -> None:
        self.checkpoint = resume_token
        self._generations = [_Generation(resume_token)]

    def __bool__(self) -> bool:
        return any(generation.owed for generation in self._generations)

    def add(self, changes: Iterable[Changed]) -> None:
        """Adds the steps that the changes set in motion, but for the orders that a worker goes on with."""
        newest = self._generations[-1]
        for change in changes:
            newest.resume_token = change.resume_token
            names = to_send(change.event_types, stock_first=change.stock_first)
            for name in () if change.carried else names:
                waiting = newest.owed.setdefault(name, {})
                if len(waiting) < MOST_WAITING:
                    waiting.setdefault(change.order_id, change.at)

    def waiting_since(self) -> datetime | None:
        """The time of the oldest unpublished change; None if all are published."""
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

    def advance(self) -> None:
        """Moves `checkpoint` up to the last published change, and starts a new generation."""
        while not self._generations[0].owed:
            self.checkpoint = self._generations[0].resume_token
            if len(self._generations) == 1:
                return
            del self._generations[0]
        if len(self._generations) < _MOST_GENERATIONS and self._generations[-1].owed:
            self._generations.append(_Generation(self._generations[-1].resume_token))
