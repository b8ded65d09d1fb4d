"""Threads that send webhooks, so that a slow receiver holds up neither a worker's task nor another receiver.

Each endpoint has lanes, which take its deliveries one after the other out of the database until none is due.
One lane every endpoint can always have. While its receiver does well it gets more, out of those that all
share; while its last attempt failed it is left with one.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from app.errors import DatabaseUnavailable

log = structlog.get_logger()

MOST_PER_ENDPOINT = 8
# Beside the first of each endpoint.
MOST_SHARED = 64


class Lanes:
    """`work` makes one attempt for an endpoint: whether it went well, None where there is nothing to do."""

    def __init__(self, work: Callable[[str], bool | None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._open: Counter[str] = Counter()
        self._woken: set[str] = set()
        self._failing: set[str] = set()
        self._closing = False

    def wake(self, endpoint_ids: Iterable[str]) -> None:
        """Sees to it that what these endpoints have due by now is found."""
        with self._changed:
            for endpoint_id in endpoint_ids:
                self._woken.add(endpoint_id)
                if not self._open[endpoint_id]:
                    self._begin(endpoint_id)

    def close(self, seconds: float) -> None:
        """Begins no further attempt, and gives those under way so long to end."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._open.total(), seconds)

    def _begin(self, endpoint_id: str) -> None:
        if not self._closing:
            self._open[endpoint_id] += 1
            # As a daemon it keeps no process from ending; what it leaves unfinished is due again in time.
            threading.Thread(target=self._run, args=(endpoint_id,), name="webhooks", daemon=True).start()

    def _run(self, endpoint_id: str) -> None:
        in_a_row = 0
        while self._goes_on(endpoint_id, in_a_row):
            try:
                went_well = self._work(endpoint_id)
            # After either the next tick of beat begins anew.
            except DatabaseUnavailable:
                log.warning("webhooks interrupted, the database is unavailable", endpoint=endpoint_id)
                went_well = None
            except Exception:
                log.exception("webhooks interrupted", endpoint=endpoint_id)
                went_well = None
            in_a_row = self._learn(endpoint_id, in_a_row, went_well)

    def _goes_on(self, endpoint_id: str, in_a_row: int) -> bool:
        """Whether the lane makes another attempt; it is closed where it does not."""
        with self._changed:
            nothing_left = in_a_row < 0 and endpoint_id not in self._woken
            too_many = endpoint_id in self._failing and self._open[endpoint_id] > 1
            if nothing_left or too_many or self._closing:
                self._open[endpoint_id] -= 1
                if not self._open[endpoint_id]:
                    del self._open[endpoint_id]
                self._changed.notify_all()
                return False
            if in_a_row <= 0:
                self._woken.discard(endpoint_id)
            return True

    def _learn(self, endpoint_id: str, in_a_row: int, went_well: bool | None) -> int:
        """How many attempts of the lane have gone well in a row by now; -1 where there was nothing to do."""
        with self._changed:
            if went_well is None:
                return -1
            if not went_well:
                self._failing.add(endpoint_id)
                return 0
            self._failing.discard(endpoint_id)
            shared = self._open.total() - len(self._open)
            # One alone may have been all there was; after the second there may well be more.
            if in_a_row > 0 and self._open[endpoint_id] < MOST_PER_ENDPOINT and shared < MOST_SHARED:
                self._begin(endpoint_id)
            return max(in_a_row, 0) + 1
