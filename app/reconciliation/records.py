"""The records that a reconciliation compares, and the time and limits that it compares them with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from app.orders.model import Order
from app.payments.model import ProviderPayment
from app.webhooks.model import Endpoint

# A step is abandoned when it is this many deadlines late.
DEADLINES = 4
# An event may take this long to reach the feed.
FEEDING = timedelta(minutes=1)
# Each process sees a change of an endpoint within this time.
CHANGING = timedelta(seconds=10)
# The orders adopted from the former service came with a log of their own, and were not announced.
ADOPTED_BY, ADOPTED_METHOD = "migration", "original"


class Row(NamedTuple):
    """A movement of an order."""

    product_id: str
    quantity: int
    kind: str
    refund_id: str | None


class Recorded(NamedTuple):
    """An event as it was announced. `where` is the notification, the delivery or the position in the feed."""

    sequence: int
    type: str
    where: str


@dataclass
class OrderRecords:
    """All records of one order id. `order` is None if the order does not exist."""

    order_id: str
    order: Order | None = None
    payments: list[ProviderPayment] = field(default_factory=list)
    movements: list[Row] = field(default_factory=list)
    notifications: list[Recorded] = field(default_factory=list)
    deliveries: list[Recorded] = field(default_factory=list)
    feed: list[Recorded] = field(default_factory=list)


# No step waits longer for its retry.
LONGEST_WAIT = timedelta(minutes=2)


class AuditContext(NamedTuple):
    """The time and the limits of a check.

    Orders deleted before `kept_since` are being purged. `is_fed` means that the feed has caught up once.
    `tracked_since` has the time of the first movement of each product that a checked order took without a
    movement. `endpoints` are the enabled ones. Deliveries of events since `deliveries_since` are all kept.
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
        """Whether the order has not changed for so long that its last change has no work under way."""
        return self.rests_from(order, deadlines) < self.now

    def rests_from(self, order: Order, deadlines: int = 1) -> datetime:
        """The moment after which the order is at rest, unless it changes again."""
        return order["updatedAt"] + deadlines * self.step_deadline

    def is_tried_again(self, order: Order, deadlines: int) -> bool:
        """Whether a step of the order failed, and its retry is near or not long overdue."""
        due_by = order.get("dueBy")
        if not order.get("attempts") or due_by is None:
            return False
        return self.now - deadlines * self.step_deadline < due_by < self.now + LONGEST_WAIT
