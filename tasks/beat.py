"""Beat under a lease, so that a second beat is harmless and takes over when the first one dies."""

from typing import Any

import structlog
from celery.beat import Scheduler

from app.broker import Broker
from app.observability.metrics import Metrics
from tasks.celery import queue_of
from tasks.composition import settings
from tasks.lease import STANDBY, Lease
from tasks.observed import share_counts, show_counts
from tasks.schedule import MOST_WAITING, SCHEDULE
from tasks.starting import await_database, watch_broker

# The most seconds between two ticks.
_TICK = 1.0

log = structlog.get_logger()


class LeasedScheduler(Scheduler):
    """Ticks only while it holds the lease."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lease = Lease(settings().redis_url, "beat")
        self._broker = Broker(settings().redis_url)
        self._works = False
        self._holder: str | None = None
        # Celery creates a lazy scheduler only to print its settings at the start.
        port = None if kwargs.get("lazy") else settings().metrics_port
        if not kwargs.get("lazy"):
            watch_broker()
            await_database()
        share_counts(port)
        self._metrics = Metrics()
        show_counts(port)
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Loads the schedule from its table."""
        self.merge_inplace(SCHEDULE)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Sends the due tasks if this beat holds the lease. Returns the seconds until the next tick."""
        works, self._works = self._works, self._lease.hold()
        if not self._works:
            if self._holder is None and (holder := self._lease.holder()):
                self._holder = holder
                log.info("beat stands by", holder=holder)
            return STANDBY
        self._holder = None
        if not works:
            log.info("beat works")
        return min(super().tick(*args, **kwargs), _TICK)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Sends one task, unless too many messages wait already."""
        if self._broker.waiting().get(queue_of(entry.task), 0) >= MOST_WAITING:
            return
        super().apply_entry(entry, producer)
        self._metrics.count("beat_messages_total", entry.name)

    def close(self) -> None:
        """Releases the lease."""
        super().close()
        self._lease.release()
