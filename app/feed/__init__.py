"""The feed: the events of all orders, in one sequence that never changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.feed.cursors_store import FeedCursors
    from app.feed.store import Feed
    from app.orders import OrderServices


@dataclass(frozen=True)
class FeedServices:
    """The collaborators of the feed functions."""

    orders: OrderServices
    store: Feed
    cursors: FeedCursors

    def of(self, owner: str) -> FeedServices:
        """The same services, limited to the orders of one user."""
        return replace(self, orders=self.orders.of(owner), store=self.store.of(owner))
