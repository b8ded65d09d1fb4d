"""Sends the database calls of concurrent requests in one round trip, as databases group commits.

A call that comes while a batch is on its way joins the next batch. So a lone call does not wait, and a busy
process pays for one command per batch. `benchmarks/` measures it.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pymongo.errors import ConnectionFailure

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Batch(Generic[Item, Result]):
    """Items of one round trip, and their results. The first caller leads, and the others wait."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.results: Sequence[Result | Exception] = ()
        # Set until the work is done, so that a killed leader confirms nothing.
        self.fault: Exception | None = ConnectionFailure("the call was interrupted")
        self.ended = threading.Event()


class Gather(Generic[Item, Result]):
    """Calls `work` with the items of concurrent callers. It is safe with threads and greenlets.

    `work` gives a result or an exception for each item, in order. Only the leader of a batch takes a turn;
    the others are woken all at once. Were each to take a turn, the next leader would wait for all of them.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Result | Exception]], largest: int = 256
    ) -> None:
        self._work = work
        self._largest = largest
        self._joining = threading.Lock()
        self._turn = threading.Lock()
        self._open: _Batch[Item, Result] = _Batch()

    def __call__(self, item: Item) -> Result:
        """The result for the item. Raises the item's exception, or the one that ended the whole batch."""
        with self._joining:
            if len(self._open.items) == self._largest:
                self._open = _Batch()
            batch, place = self._open, len(self._open.items)
            batch.items.append(item)
        if place == 0:
            self._lead(batch)
        else:
            batch.ended.wait()
        if batch.fault:
            raise batch.fault
        result = batch.results[place]
        if isinstance(result, Exception):
            raise result
        return result

    def _lead(self, batch: _Batch[Item, Result]) -> None:
        try:
            with self._turn:
                self._await_others(batch)
                self._close(batch)
                batch.results = self._work(batch.items)
                batch.fault = None
        except Exception as error:
            batch.fault = error
        finally:
            self._close(batch)
            batch.ended.set()

    def _await_others(self, batch: _Batch[Item, Result]) -> None:
        """Lets callers that are ready to run join, while any do. A lone call goes at once."""
        size = 0
        while size < len(batch.items) < self._largest:
            size = len(batch.items)
            time.sleep(0)

    def _close(self, batch: _Batch[Item, Result]) -> None:
        with self._joining:
            if self._open is batch:
                self._open = _Batch()
