"""The relay: turns changes of orders into tasks, by the event table, and into the event feed.

Run as `python -m tasks.relay`. It follows the change stream from the place it remembers, and remembers a
place only when everything up to it is published and fed; so nothing is lost when it dies, and what is
published or fed twice finds itself done. One relay works and others stand by; where two work for a moment,
that is harmless too.
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
from app.orders.changes_store import Changed, PlaceLost
from app.orders.sweeping import all_owed_steps
from app.services import Services
from tasks.backlog import Backlog
from tasks.composition import services, settings
from tasks.feed_writer import Feeder
from tasks.lease import STANDBY, Lease
from tasks.observed import share_counts, show_counts
from tasks.starting import await_database, watch_broker
from tasks.steps import free_tasks, send, send_all

log = structlog.get_logger()

# Seconds: how long the stream may be silent before the relay looks up, and how long while a queue is busy;
# how often it remembers its place; how long it waits after a fault.
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
    """Waits until the lease is ours."""
    holder = None
    while not stopping.wait(STANDBY) and not lease.hold():
        if holder is None and (holder := lease.holder()):
            log.info("relay stands by", holder=holder)


def relay(services: Services, lease: Lease, stopping: Event) -> None:
    """Publishes what every change sets in motion, and feeds its events, until told to stop, or the lease or
    the place is lost.

    Raises DatabaseUnavailable, or OperationalError where the broker cannot be reached.
    """
    try:
        _follow(services, lease, stopping)
    except PlaceLost as error:
        log.warning("the change stream cannot be taken up at the last place", reason=str(error))
        services.changes.forget()


def _follow(services: Services, lease: Lease, stopping: Event) -> None:
    remembered = services.changes.place()
    place = remembered or _publish_all(services, lease)
    backlog, settled = Backlog(place), time.monotonic()

    def publish(name: str, ids: list[str]) -> None:
        send(name, ids)
        services.metrics.count("relay_messages_total", name)

    with Feeder(services, catches_up=not remembered) as feeder, services.changes.follow(place) as follower:
        if not remembered:
            feeder.remember(place)
        while not stopping.is_set():
            if not lease.hold():
                return
            if feeder.has_room():
                changes = follower.take(_BUSY if backlog else _SILENCE)
                backlog.add(changes)
                feeder.feed(changes)
                _count(services, changes)
            else:
                stopping.wait(_BUSY)
            services.metrics.show("relay_lag_seconds", _seconds_since(backlog.waiting_since(), services))
            services.metrics.show("relay_feed_lag_seconds", _seconds_since(feeder.waiting_since(), services))
            if backlog:
                backlog.publish(free_tasks(), publish)
            if time.monotonic() - settled > _REMEMBERING:
                settled = time.monotonic()
                _settle(backlog, feeder)
        _settle(backlog, feeder)


def _count(services: Services, changes: Iterable[Changed]) -> None:
    for kind, number in Counter(kind for change in changes for kind in change.event_types).items():
        services.metrics.count("order_events_total", kind, by=number)


def _seconds_since(moment: datetime | None, services: Services) -> float:
    return max(0.0, (services.clock() - moment).total_seconds()) if moment else 0.0


def _settle(backlog: Backlog, feeder: Feeder) -> None:
    before = backlog.settled
    backlog.age()
    if backlog.settled != before:
        feeder.remember(backlog.settled)


def _publish_all(services: Services, lease: Lease) -> Any:
    """Publishes everything owed, from the index of it; the place in the stream from which to follow then."""
    place = services.changes.present_place()
    after = None
    while True:
        lease.hold()
        owed, after = all_owed_steps(services.orders, after)
        send_all(owed)
        if after is None:
            return place


if __name__ == "__main__":
    main()
