"""Feeds the events of all orders to whoever asks for them, each with the order as it was right after it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from app.clock import moment_of
from app.errors import OrderUnreadable
from app.feed import FeedServices
from app.feed.store import Entry
from app.orders.history import as_of
from app.orders.model import Order

_BATCH = 1_000
# Orders with their logs that are read at once: few at first, since they may be large.
_FIRST_AT_ONCE, _AT_ONCE = 8, 64


class Fed(NamedTuple):
    """An event in the feed: its position there, and the order as of it; None where it cannot be read."""

    position: int
    order_id: str
    sequence: int
    type: str
    at: datetime
    order: Order | None


class Stretch(NamedTuple):
    """A part of the feed: its events, the position where it ends, and whether there is more behind that."""

    events: Iterator[Fed]
    position: int
    has_more: bool


def read(services: FeedServices, after: int, limit: int, types: Collection[str] | None) -> Stretch:
    """Up to `limit` events of the feed behind a position, of these types or of all.

    The orders are read while the events are taken, a few at a time. What is purged by then is left out.
    """
    page = services.store.page(after, limit, types)
    position = page.entries[-1][0] if page.entries else after
    return Stretch(_events(services, page.entries), position, page.has_more)


def catch_up(services: FeedServices, is_over: Callable[[], bool]) -> bool:
    """Feeds whatever is missing of all orders; False where it was over before the end was reached."""
    after = None
    while not is_over():
        entries, after = services.store.unfed(after, _BATCH)
        services.store.append(entries)
        if after is None:
            return True
    return False


def _events(services: FeedServices, entries: Sequence[tuple[int, Entry]]) -> Iterator[Fed]:
    start, size = 0, _FIRST_AT_ONCE
    while batch := entries[start : start + size]:
        found = services.orders.store.load_with_logs({entry.order_id for _, entry in batch})
        orders = {order["id"]: order for order in found}
        for position, entry in batch:
            if entry.order_id in orders:
                yield _fed(position, entry, orders[entry.order_id])
        start, size = start + size, min(2 * size, _AT_ONCE)


def _fed(position: int, entry: Entry, order: Order) -> Fed:
    try:
        past = as_of(order, entry.sequence)
    except OrderUnreadable:
        return Fed(position, *entry, at=_time_of(order, entry), order=None)
    return Fed(position, *entry, at=past["updatedAt"], order=past)


def _time_of(order: Order, entry: Entry) -> datetime:
    """When the event happened; if that cannot be read either, when the order was made."""
    try:
        at = order["events"][entry.sequence - 1]["at"]
    except (LookupError, TypeError):
        at = None
    return at if isinstance(at, datetime) else moment_of(entry.order_id)
