"""Ends a worker that is deaf: it has a process free and takes nothing from the broker, though messages wait.

A lost connection can leave a consumer that never asks for a message again, and nothing else would notice: the
process lives and other workers may be at work. Its supervisor starts the worker anew.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping

import structlog
from celery import signals
from celery.worker import state

from app.broker import Broker

log = structlog.get_logger()

# Seconds for which a worker may take nothing, between two looks, and from the orderly end to the hard one.
PATIENCE = 60.0
_EVERY = 1.0
_GRACE = 10.0
# "Try again": the exit code of a worker that ends itself.
EXIT_CODE = os.EX_TEMPFAIL


class Hearing:
    """Counts the looks in a row at which messages waited, a process was free, and nothing had been taken.

    It counts looks and not seconds, so that a computer that slept has no deaf workers.
    """

    def __init__(self, waiting: Callable[[], Mapping[str, int]], is_busy: Callable[[], bool]) -> None:
        self._waiting = waiting
        self._is_busy = is_busy
        self._taken = self._seen = self._silent = 0

    def took(self, **_: object) -> None:
        """The worker has taken a message."""
        self._taken += 1

    def silent_looks(self) -> int:
        """Looks again. Returns the number of such looks in a row.

        A broker that does not answer has no messages, so its outage makes no worker deaf.
        """
        before, waits = self._seen, any(self._waiting().values()) and not self._is_busy()
        self._seen = self._taken
        self._silent = self._silent + 1 if waits and self._seen == before else 0
        return self._silent


def watch_hearing(redis_url: str, queues: Mapping[str, object], processes: int) -> None:
    """Starts a thread that ends this worker when it is deaf. Call it after the worker has forked."""
    broker = Broker(redis_url)

    def waiting() -> dict[str, int]:
        return {queue: number for queue, number in broker.waiting().items() if queue in queues}

    hearing = Hearing(waiting, lambda: len(state.active_requests) >= processes)
    signals.task_received.connect(hearing.took, weak=False)
    threading.Thread(target=_listen, args=(hearing,), name="hearing", daemon=True).start()


def _listen(hearing: Hearing) -> None:
    while not _is_ending():
        if hearing.silent_looks() * _EVERY > PATIENCE:
            log.error("worker takes no messages and ends itself", seconds=PATIENCE)
            state.should_stop = EXIT_CODE
            time.sleep(_GRACE)
            # The worker's own loop hangs.
            os._exit(EXIT_CODE)
        time.sleep(_EVERY)


def _is_ending() -> bool:
    return state.should_stop is not None or state.should_terminate is not None
