"""The relay: turns changes of orders into tasks, by the event table. Run as `python -m tasks.relay`.

It follows the change stream from the place it remembers, and remembers a place only when everything up to it
is published; so nothing is lost when it dies, and what is published twice finds itself done. One relay works
and others stand by; where two work for a moment, that is harmless too.
"""

import signal
import time
from threading import Event
from typing import Any

import structlog
from kombu.exceptions import OperationalError

from app.domain.errors import DatabaseUnavailable
from app.logging import configure
from app.services.shop import Shop
from app.services.sweeping import all_owed_steps
from app.storage.changes import PlaceLost
from tasks.backlog import Backlog
from tasks.celery import settings, shop
from tasks.lease import Lease
from tasks.steps import free_tasks, send, send_all

log = structlog.get_logger()

# Seconds: how long the stream may be silent before the relay looks up, and how long while a queue is busy;
# how often it renews its lease and remembers its place; how long it waits after a fault or on standby.
_SILENCE = 0.5
_BUSY = 0.005
_RENEWAL = 2.0
_PAUSE = 1.0


def main() -> None:
    """Relays until SIGTERM or SIGINT."""
    configure(settings.log_level)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    lease = Lease(settings.redis_url, "relay")
    while not stopping.is_set():
        if not lease.hold():
            stopping.wait(_PAUSE)
            continue
        log.info("relay works")
        try:
            relay(shop(), lease, stopping)
        except (DatabaseUnavailable, OperationalError) as error:
            log.warning("relay interrupted, will go on", reason=str(error))
            stopping.wait(_PAUSE)
    lease.release()
    log.info("relay ends")


def relay(shop: Shop, lease: Lease, stopping: Event) -> None:
    """Publishes what every change sets in motion, until told to stop or the lease is lost.

    Raises DatabaseUnavailable, or OperationalError where the broker cannot be reached.
    """
    place = shop.changes.place() or _catch_up(shop)
    backlog, renewed = Backlog(place), time.monotonic()
    try:
        with shop.changes.follow(place) as follower:
            while not stopping.is_set():
                backlog.add(follower.take(_BUSY if backlog else _SILENCE))
                if backlog:
                    backlog.publish(free_tasks(), send)
                if time.monotonic() - renewed > _RENEWAL:
                    renewed = time.monotonic()
                    _remember(shop, backlog)
                    if not lease.hold():
                        return
    except PlaceLost as error:
        log.warning("the change stream cannot be taken up at the last place", reason=str(error))
        _catch_up(shop)
    else:
        _remember(shop, backlog)


def _remember(shop: Shop, backlog: Backlog) -> None:
    before = backlog.settled
    backlog.age()
    if backlog.settled != before:
        shop.changes.remember(backlog.settled)


def _catch_up(shop: Shop) -> Any:
    """Publishes everything owed, from the index of it; the place in the stream from which to follow then."""
    place = shop.changes.present_place()
    after = None
    while True:
        owed, after = all_owed_steps(shop, after)
        send_all(owed)
        if after is None:
            shop.changes.remember(place)
            return place


if __name__ == "__main__":
    main()
