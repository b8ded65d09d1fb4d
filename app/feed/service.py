"""Reads the feed: the events of all orders, each with its order as it was right after the event."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from app.clock import moment_of
from app.errors import OrderUnreadable
from app.feed import FeedServices
from app.feed.store import Entry
from app.orders.history import History
from app.orders.model import Order

_BATCH = 1_000
# How many orders are read at once, with their logs: few at first, since they can be large.
_FIRST_AT_ONCE, _AT_ONCE = 8, 64


class Fed(NamedTuple):
    """An event in the feed, with its position and the order as of the event. An unreadable order is None."""

    position: int
    order_id: str
    sequence: int
    type: str
    at: datetime
    order: Order | None


class Slice(NamedTuple):
    """A part of the feed: its events, the position of its end, and whether more events follow."""

    events: Iterator[Fed]
    position: int
    has_more: bool


def read(services: FeedServices, after: int, limit: int, types: Collection[str] | None) -> Slice:
    """Up to `limit` events after a position, of the given types or of all types.

    The orders are read lazily, a few at a time. Events of orders that are purged by then are left out.
    """
    page = services.store.page(after, limit, types)
    position = page.entries[-1][0] if page.entries else after
    return Slice(_events(services, page.entries), position, page.has_more)


def catch_up(services: FeedServices, is_over: Callable[[], bool]) -> bool:
    """Adds all missing events of all orders to the feed. False if `is_over` stopped it before the end."""
    after = None
    while not is_over():
        entries, after = services.store.unfed(after, _BATCH)
        services.store.append(entries)
        if after is None:
            return True
    return False


def _events(services: FeedServices, entries: Sequence[tuple[int, Entry]]) -> Iterator[Fed]:
    histories: dict[str, History] = {}
    start, size = 0, _FIRST_AT_ONCE
    while batch := entries[start : start + size]:
        wanted = {entry.order_id for _, entry in batch}
        # An order with events in the batch before, too, is neither read nor folded from its beginning again.
        histories = {order_id: past for order_id, past in histories.items() if order_id in wanted}
        for order in services.orders.store.load_with_logs(wanted - histories.keys()):
            histories[order["id"]] = History(order)
        for position, entry in batch:
            if entry.order_id in histories:
                yield _fed(position, entry, histories[entry.order_id])
        start, size = start + size, min(2 * size, _AT_ONCE)


def _fed(position: int, entry: Entry, history: History) -> Fed:
    try:
        past = history.as_of(entry.sequence)
    except OrderUnreadable:
        return Fed(position, *entry, at=_time_of(history.order, entry), order=None)
    return Fed(position, *entry, at=past["updatedAt"], order=past)


def _time_of(order: Order, entry: Entry) -> datetime:
    """The time of the event; if that is unreadable, the time of the order's creation."""
    try:
        at = order["events"][entry.sequence - 1]["at"]
    except (LookupError, TypeError):
        at = None
    return at if isinstance(at, datetime) else moment_of(entry.order_id)
