"""Adds up the figures of a period, in batches of orders."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.clock import id_at
from app.errors import Fault, InvalidInput
from app.promises import PromiseServices
from app.promises.model import Differences, Figures

BATCH = 1_000
# The most orders, or differences, of a period that a request may ask for, and the most seconds for it.
MOST_ORDERS = 50_000
MOST_SECONDS = 15.0

_FIRST = datetime.fromtimestamp(0, UTC)


class Promises(NamedTuple):
    """The figures of the orders made from `since` until `until`."""

    since: datetime
    until: datetime
    figures: Figures
    differences: Differences


def promises_in_time(services: PromiseServices, period: timedelta) -> Promises:
    """The figures of the last orders, while a client waits.

    Raises InvalidInput if there are too many orders in the period, or reading them takes too long.
    """
    since, until = _bounds(services, period)
    if services.evidence.count(since, until, MOST_ORDERS + 1) > MOST_ORDERS:
        raise _too_long(f"has more than {MOST_ORDERS} orders or differences")
    deadline = time.monotonic() + MOST_SECONDS

    def stop_in_time(_read: int) -> None:
        if time.monotonic() > deadline:
            raise _too_long(f"takes more than {MOST_SECONDS:.0f} s to read")

    return _add_up(services, since, until, stop_in_time)


def promises(services: PromiseServices, period: timedelta, progress: Callable[[int, int], None]) -> Promises:
    """The figures of the last orders, however many there are."""
    since, until = _bounds(services, period)
    total = services.evidence.count(since, until, 0)
    return _add_up(services, since, until, lambda read: progress(min(read, total), max(total, 1)))


def _too_long(reason: str) -> InvalidInput:
    instead = "ask for a shorter one, or run `flask --app wsgi promises`, which has no such limit"
    return InvalidInput(Fault("/since", f"this time {reason}; {instead}"))


def _bounds(services: PromiseServices, period: timedelta) -> tuple[datetime, datetime]:
    # The orders of the present millisecond are among them.
    until = services.clock() + timedelta(milliseconds=1)
    return until - min(period, until - _FIRST), until


def _add_up(
    services: PromiseServices, since: datetime, until: datetime, on_batch: Callable[[int], None]
) -> Promises:
    evidence, figures, read = services.evidence, Figures(), 0
    after, end = f"{max(0, int(id_at(since), 16) - 1):024x}", id_at(until)
    while batch := evidence.orders(after, end, BATCH, until):
        figures.add_orders(batch.found)
        for webhooks in evidence.webhooks(after, f"{batch.last};"):
            figures.add_webhooks(*webhooks)
        read, after = read + batch.read, batch.last
        on_batch(read)
        if batch.read < BATCH:
            break
    figures.accepted += evidence.purged(since, until)
    return Promises(since, until, figures, evidence.differences(since, until))
