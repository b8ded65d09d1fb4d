"""Threads that send webhooks, so that a slow receiver delays neither a worker's task nor another receiver.

The deliveries of each endpoint are a queue in the database. Sender threads take deliveries from that queue
one after the other until none is due. Every endpoint can have one thread at any time. While its receiver
answers well, it gets more threads from a shared allowance. After a failed attempt it keeps a single one.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum, auto

import structlog

from app.errors import DatabaseUnavailable

log = structlog.get_logger()

MOST_PER_ENDPOINT = 8
# Threads beyond the first of each endpoint, over all endpoints.
MOST_SHARED = 64


class Outcome(Enum):
    """How the last attempt of a sender thread ended."""

    SENT = auto()
    FAILED = auto()
    NOTHING_DUE = auto()


class SenderThreads:
    """The sender threads of this process, by endpoint.

    `send_next` makes one attempt for an endpoint. It returns True for success, False for a failure, and None
    if nothing is due.
    """

    def __init__(self, send_next: Callable[[str], bool | None]) -> None:
        self._send_next = send_next
        self._changed = threading.Condition()
        self._running: Counter[str] = Counter()
        self._woken: set[str] = set()
        self._failing: set[str] = set()
        self._closing = False

    def wake(self, endpoint_ids: Iterable[str]) -> None:
        """Ensures that a thread sees every delivery that is due to these endpoints by now."""
        with self._changed:
            for endpoint_id in endpoint_ids:
                self._woken.add(endpoint_id)
                if not self._running[endpoint_id]:
                    self._start(endpoint_id)

    def close(self, seconds: float) -> None:
        """Starts no further attempt, and waits up to `seconds` for the attempts under way."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._running.total(), seconds)

    def _start(self, endpoint_id: str) -> None:
        if not self._closing:
            self._running[endpoint_id] += 1
            # A daemon thread does not keep the process alive. Its unfinished delivery becomes due again.
            threading.Thread(target=self._run, args=(endpoint_id,), name="webhooks", daemon=True).start()

    def _run(self, endpoint_id: str) -> None:
        last: Outcome | None = None
        while self._continues(endpoint_id, last):
            outcome = self._attempt(endpoint_id)
            self._record(endpoint_id, last, outcome)
            last = outcome

    def _attempt(self, endpoint_id: str) -> Outcome:
        try:
            went_well = self._send_next(endpoint_id)
        # After either exception the thread ends, and the next tick of beat starts another.
        except DatabaseUnavailable:
            log.warning("webhooks interrupted, the database is unavailable", endpoint=endpoint_id)
            return Outcome.NOTHING_DUE
        except Exception:
            log.exception("webhooks interrupted", endpoint=endpoint_id)
            return Outcome.NOTHING_DUE
        if went_well is None:
            return Outcome.NOTHING_DUE
        return Outcome.SENT if went_well else Outcome.FAILED

    def _continues(self, endpoint_id: str, last: Outcome | None) -> bool:
        """Whether the thread makes another attempt. If not, it no longer counts as running."""
        with self._changed:
            nothing_left = last is Outcome.NOTHING_DUE and endpoint_id not in self._woken
            too_many = endpoint_id in self._failing and self._running[endpoint_id] > 1
            if nothing_left or too_many or self._closing:
                self._running[endpoint_id] -= 1
                if not self._running[endpoint_id]:
                    del self._running[endpoint_id]
                self._changed.notify_all()
                return False
            if last is not Outcome.SENT:
                self._woken.discard(endpoint_id)
            return True

    def _record(self, endpoint_id: str, last: Outcome | None, outcome: Outcome) -> None:
        """Notes whether the endpoint fails, and starts one more thread after two successes in a row."""
        with self._changed:
            if outcome is Outcome.FAILED:
                self._failing.add(endpoint_id)
            elif outcome is Outcome.SENT:
                self._failing.discard(endpoint_id)
                # One success may have emptied the queue. After a second there is probably more.
                if last is Outcome.SENT and self._may_grow(endpoint_id):
                    self._start(endpoint_id)

    def _may_grow(self, endpoint_id: str) -> bool:
        shared = self._running.total() - len(self._running)
        return self._running[endpoint_id] < MOST_PER_ENDPOINT and shared < MOST_SHARED
