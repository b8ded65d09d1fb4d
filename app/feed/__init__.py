"""The feed: all events of all orders, in one order that never changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.feed.cursors_store import FeedCursors
    from app.feed.store import Feed
    from app.orders import OrderServices


@dataclass(frozen=True)
class FeedServices:
    """What the feed needs."""

    orders: OrderServices
    store: Feed
    cursors: FeedCursors

    def of(self, owner: str) -> FeedServices:
        """The same for one user, who sees the events of no orders but their own."""
        return replace(self, orders=self.orders.of(owner), store=self.store.of(owner))
