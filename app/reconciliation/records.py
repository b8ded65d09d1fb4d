"""What a reconciliation judges by: all that the books hold of one order, and from where it is looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from app.orders.model import Order
from app.payments.model import ProviderPayment
from app.webhooks.model import Endpoint

# So many deadlines after the time by which a step should have been done, nobody seems to work on it.
DEADLINES = 4
# An event may take this long to reach the feed.
FEEDING = timedelta(minutes=1)
# A change of an endpoint may take this long to be seen by all.
CHANGING = timedelta(seconds=10)
# The orders of the service before this one came with a log of their own, of which nobody was notified.
ADOPTED_BY, ADOPTED_METHOD = "migration", "original"


class Row(NamedTuple):
    """A movement of an order."""

    product_id: str
    quantity: int
    kind: str
    refund_id: str | None


class Told(NamedTuple):
    """That an event was told; `where` is the notification, the delivery or the position in the feed."""

    sequence: int
    type: str
    where: str


@dataclass
class Dossier:
    """All that the books hold of one order, beginning with the order itself if there is one."""

    order_id: str
    order: Order | None = None
    payments: list[ProviderPayment] = field(default_factory=list)
    movements: list[Row] = field(default_factory=list)
    notifications: list[Told] = field(default_factory=list)
    deliveries: list[Told] = field(default_factory=list)
    feed: list[Told] = field(default_factory=list)


# No step waits longer for its next try.
LONGEST_WAIT = timedelta(minutes=2)


class Look(NamedTuple):
    """From where the books are looked at.

    `kept_since`: what was deleted before is being purged. `is_fed`: the feed has been brought up to date
    once. `tracked_since` says when the first movement of a product was, of those that matter. `endpoints` are
    the enabled ones, and of events since `deliveries_since` all deliveries are kept.
    """

    now: datetime
    step_deadline: timedelta
    order_expiry: timedelta
    kept_since: datetime
    is_fed: bool
    tracked_since: Mapping[str, datetime]
    endpoints: Sequence[Endpoint]
    deliveries_since: datetime

    def is_at_rest(self, order: Order, deadlines: int = 1) -> bool:
        """Whether the order has not changed for so long that nothing of its last change is under way."""
        return self.rests_from(order, deadlines) < self.now

    def rests_from(self, order: Order, deadlines: int = 1) -> datetime:
        """After which moment the order is at rest, if it does not change again."""
        return order["updatedAt"] + deadlines * self.step_deadline

    def is_tried_again(self, order: Order, deadlines: int) -> bool:
        """Whether a step of the order has not worked out, and its next try is near or not long overdue."""
        due_by = order.get("dueBy")
        if not order.get("attempts") or due_by is None:
            return False
        return self.now - deadlines * self.step_deadline < due_by < self.now + LONGEST_WAIT
