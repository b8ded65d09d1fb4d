"""Feeds the events of all orders to whoever asks for them, each with the order as it was right after it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from app.domain.order import Order
from app.services.past import as_of
from app.services.shop import Shop
from app.storage.feed import Entry

_BATCH = 1_000
# Orders with their logs that are in memory at once for one reader.
_AT_ONCE = 50


class Fed(NamedTuple):
    """An event in the feed: its position there, and the order as of it."""

    position: int
    sequence: int
    type: str
    at: datetime
    order: Order


class Stretch(NamedTuple):
    """A part of the feed: its events, the position up to which it was looked through, and whether there is
    more behind that."""

    events: Iterator[Fed]
    position: int
    has_more: bool


def read(shop: Shop, after: int, limit: int, types: Collection[str] | None) -> Stretch:
    """Up to `limit` events of the feed behind a position, of these types or of all.

    The orders are read while the events are taken, a few at a time. What is purged by then is left out.
    """
    page = shop.feed.page(after, limit, types)
    return Stretch(_events(shop, page.entries), page.position, page.has_more)


def catch_up(shop: Shop, is_over: Callable[[], bool]) -> bool:
    """Feeds whatever is missing of all orders; False where it was over before the end was reached."""
    after = None
    while not is_over():
        entries, after = shop.feed.unfed(after, _BATCH)
        shop.feed.append(entries)
        if after is None:
            return True
    return False


def _events(shop: Shop, entries: Sequence[tuple[int, Entry]]) -> Iterator[Fed]:
    for start in range(0, len(entries), _AT_ONCE):
        batch = entries[start : start + _AT_ONCE]
        found = shop.orders.load_with_logs({entry.order_id for _, entry in batch})
        orders = {order["id"]: order for order in found}
        for position, entry in batch:
            if past := as_of(orders.get(entry.order_id), entry.sequence):
                yield Fed(position, entry.sequence, entry.type, past["updatedAt"], past)
