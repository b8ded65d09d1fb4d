"""The relay: publishes a task for every step that a change of an order sets in motion, and writes the feed.

Run as `python -m tasks.relay`. The relay follows the change stream from its checkpoint, a stored resume
token. It stores a new token only when everything up to it is published and in the feed, so nothing is lost
when the relay dies. Publishing or writing something twice is harmless. One relay works and others stand by;
two that work for a moment are harmless too.
"""

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from threading import Event
from typing import Any

import structlog
from kombu.exceptions import OperationalError

from app.config import ConfigError
from app.errors import DatabaseUnavailable
from app.observability.logging import configure
from app.orders.changes_store import Changed, ResumeTokenLost
from app.orders.sweeping import all_owed_steps
from app.services import Services
from tasks.backlog import Backlog
from tasks.composition import services, settings
from tasks.feed_writer import FeedWriter
from tasks.lease import STANDBY, Lease
from tasks.observed import share_counts, show_counts
from tasks.starting import await_database, watch_broker
from tasks.steps import free_tasks, send, send_all

log = structlog.get_logger()

# Seconds: how long the relay waits for the next change, and how long while a queue is busy; how often it
# stores its checkpoint; how long it pauses after an error.
_SILENCE = 0.5
_BUSY = 0.005
_REMEMBERING = 2.0
_PAUSE = 1.0


def main() -> None:
    """Relays until SIGTERM or SIGINT."""
    try:
        configure(settings().log_level)
    except ConfigError as faults:
        sys.exit(str(faults))
    share_counts(settings().metrics_port)
    show_counts(settings().metrics_port)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    watch_broker()
    await_database(stopping)
    lease = Lease(settings().redis_url, "relay")
    while not stopping.is_set():
        if not lease.hold():
            _stand_by(lease, stopping)
            continue
        log.info("relay works")
        try:
            relay(services(), lease, stopping)
        except (DatabaseUnavailable, OperationalError) as error:
            log.warning("relay interrupted, will go on", reason=str(error))
            stopping.wait(_PAUSE)
    lease.release()
    services().tracer.close()
    log.info("relay ends")


def _stand_by(lease: Lease, stopping: Event) -> None:
    """Waits until this process holds the lease."""
    holder = None
    while not stopping.wait(STANDBY) and not lease.hold():
        if holder is None and (holder := lease.holder()):
            log.info("relay stands by", holder=holder)


def relay(services: Services, lease: Lease, stopping: Event) -> None:
    """Publishes the steps that each change sets in motion, and writes its events to the feed.

    Returns when `stopping` is set, or when the lease or the resume token is lost. Raises DatabaseUnavailable,
    or OperationalError if the broker cannot be reached.
    """
    try:
        _follow(services, lease, stopping)
    except ResumeTokenLost as error:
        log.warning("the change stream cannot resume from the last checkpoint", reason=str(error))
        services.changes.forget()


def _follow(services: Services, lease: Lease, stopping: Event) -> None:
    stored = services.changes.resume_token()
    token = stored or _publish_all(services, lease)
    backlog, remembered_at = Backlog(token), time.monotonic()

    def publish(name: str, ids: list[str]) -> None:
        send(name, ids)
        services.metrics.count("relay_messages_total", name)

    with FeedWriter(services, catches_up=not stored) as writer, services.changes.follow(token) as follower:
        if not stored:
            writer.remember(token)
        while not stopping.is_set():
            if not lease.hold():
                return
            if writer.has_room():
                changes = follower.take(_BUSY if backlog else _SILENCE)
                backlog.add(changes)
                writer.write(changes)
                _count(services, changes)
            else:
                stopping.wait(_BUSY)
            services.metrics.show("relay_lag_seconds", _seconds_since(backlog.waiting_since(), services))
            services.metrics.show("relay_feed_lag_seconds", _seconds_since(writer.waiting_since(), services))
            if backlog:
                backlog.publish(free_tasks(), publish)
            if time.monotonic() - remembered_at > _REMEMBERING:
                remembered_at = time.monotonic()
                _remember(backlog, writer)
        _remember(backlog, writer)


def _count(services: Services, changes: Iterable[Changed]) -> None:
    for kind, number in Counter(kind for change in changes for kind in change.event_types).items():
        services.metrics.count("order_events_total", kind, by=number)


def _seconds_since(moment: datetime | None, services: Services) -> float:
    return max(0.0, (services.clock() - moment).total_seconds()) if moment else 0.0


def _remember(backlog: Backlog, writer: FeedWriter) -> None:
    before = backlog.checkpoint
    backlog.advance()
    if backlog.checkpoint != before:
        writer.remember(backlog.checkpoint)


def _publish_all(services: Services, lease: Lease) -> Any:
    """Publishes everything that orders owe. Returns the resume token from which to follow then."""
    token = services.changes.present_resume_token()
    after = None
    while True:
        lease.hold()
        owed, after = all_owed_steps(services.orders, after)
        send_all(owed)
        if after is None:
            return token


if __name__ == "__main__":
    main()
