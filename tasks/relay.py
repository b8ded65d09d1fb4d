"""The relay: turns changes of orders into tasks, by the event table. Run as `python -m tasks.relay`.

It follows the change stream from the place it remembers, and remembers a place only when everything up to it
is published; so nothing is lost when it dies, and what is published twice finds itself done. One relay works
and others stand by; where two work for a moment, that is harmless too.
"""

import signal
import time
from collections.abc import Iterable
from threading import Event
from typing import Any

import structlog
from app.logging import configure
from kombu.exceptions import OperationalError

from app.domain.errors import DatabaseUnavailable
from app.domain.steps import set_in_motion
from app.services.shop import Shop
from app.services.sweeping import all_owed_steps
from app.storage.changes import Changed, PlaceLost
from tasks.celery import settings, shop
from tasks.lease import Lease
from tasks.steps import send

log = structlog.get_logger()

# Seconds: how long the stream may be silent before the relay looks up, how often it renews its lease and
# remembers its place, and how long it waits after a fault or while it stands by.
_SILENCE = 0.5
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
    place = shop.changes.place()
    if place is None:
        place = _catch_up(shop)
    remembered, renewed = place, time.monotonic()
    try:
        for batch in shop.changes.follow(place, _SILENCE):
            if batch:
                send(owed_by(batch))
                place = batch[-1].place
            if time.monotonic() - renewed > _RENEWAL:
                renewed = time.monotonic()
                if place != remembered:
                    shop.changes.remember(place)
                    remembered = place
                if not lease.hold():
                    return
            if stopping.is_set():
                return
    except PlaceLost:
        log.warning("the oplog no longer reaches back to the last place")
        place = _catch_up(shop)
    finally:
        if place != remembered:
            shop.changes.remember(place)


def owed_by(changes: Iterable[Changed]) -> dict[str, list[str]]:
    """The order ids by the name of the step that their changes set in motion, without repetition."""
    owed: dict[str, dict[str, None]] = {}
    for change in changes:
        for name in set_in_motion(change.event_types):
            owed.setdefault(name, {})[change.order_id] = None
    return {name: list(order_ids) for name, order_ids in owed.items()}


def _catch_up(shop: Shop) -> Any:
    """Publishes everything owed, from the index of it; the place in the stream from which to follow then."""
    place = shop.changes.present_place()
    after = None
    while True:
        owed, after = all_owed_steps(shop, after)
        send(owed)
        if after is None:
            shop.changes.remember(place)
            return place


if __name__ == "__main__":
    main()
