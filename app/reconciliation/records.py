"""The records that a reconciliation compares, and the time and limits that it compares them with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from app.orders import steps
from app.orders.log import first_bad_sequence
from app.orders.model import Order, fold
from app.orders.numbers import is_number_of
from app.orders.personal_index import PersonalIndex
from app.payments.model import ProviderPayment
from app.webhooks.model import Endpoint

# A step is abandoned when it is this many deadlines late.
DEADLINES = 4
# No step waits longer for its retry.
LONGEST_WAIT = timedelta(minutes=2)
# An event may take this long to reach the feed.
FEEDING = timedelta(minutes=1)
# Each process sees a change of an endpoint within this time.
CHANGING = timedelta(seconds=10)
# The orders adopted from the original service came with a log of their own, and were not announced.
ADOPTED_BY, ADOPTED_METHOD = "migration", "original"


class Row(NamedTuple):
    """A movement of an order."""

    product_id: str
    quantity: int
    kind: str
    refund_id: str | None
    line: int | None = None
    return_id: str | None = None
    receipt: int | None = None
    cancellation_id: str | None = None


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


class AuditContext(NamedTuple):
    """The time and the limits of a check.

    Orders deleted before `kept_since` are being purged. `is_fed` means that the feed has caught up once.
    `tracked_since` has the time of the first movement of each product that a checked order took without a
    movement. `spare` has what is on hand, for a while already, of the products of checked orders that wait.
    `endpoints` are the enabled ones. Deliveries of events since `deliveries_since` are all kept.
    """

    now: datetime
    step_deadline: timedelta
    order_expiry: timedelta
    kept_since: datetime
    is_fed: bool
    tracked_since: Mapping[str, datetime]
    spare: Mapping[str, int]
    endpoints: Sequence[Endpoint]
    deliveries_since: datetime
    personal_index: PersonalIndex

    def is_at_rest(self, order: Order, deadlines: int = 1) -> bool:
        """Whether the order has not changed for so long that its last change has no work under way."""
        return self.rests_from(order, deadlines) < self.now

    def rests_from(self, order: Order, deadlines: int = 1) -> datetime:
        """The moment after which the order is at rest, unless it changes again."""
        return order["updatedAt"] + deadlines * self.step_deadline

    def money_rests_from(self, order: Order) -> datetime:
        """The moment after which the money of the order can be checked: all retries are over by then."""
        moment = self.rests_from(order, DEADLINES)
        if self.is_tried_again(order, DEADLINES):
            return max(moment, order["dueBy"] + DEADLINES * self.step_deadline)
        return moment

    def is_tried_again(self, order: Order, deadlines: int) -> bool:
        """Whether a step of the order failed, and its retry is near or not long overdue."""
        due_by = order.get("dueBy")
        if not order.get("attempts") or due_by is None:
            return False
        return self.now - deadlines * self.step_deadline < due_by < self.now + LONGEST_WAIT


@dataclass(frozen=True)
class Case:
    """The records of one order id, and the context to check them in."""

    records: OrderRecords
    context: AuditContext

    @property
    def order(self) -> Order | None:
        """The order, if it exists."""
        return self.records.order

    @cached_property
    def at_rest(self) -> Order | None:
        """The order, if it exists and has not just changed."""
        return self.order if self.order and self.context.is_at_rest(self.order) else None

    @cached_property
    def money_at_rest(self) -> Order | None:
        """The order, if it exists and the provider is not ahead of it."""
        order, context = self.order, self.context
        return order if order and context.money_rests_from(order) < context.now else None

    @cached_property
    def due_steps(self) -> list[str]:
        """The names of the order's due steps."""
        return steps.due(self.order) if self.order else []

    @property
    def long_ago(self) -> datetime:
        """A deadline before this moment was missed for good."""
        return self.context.now - DEADLINES * self.context.step_deadline

    @cached_property
    def bad_sequence(self) -> int | None:
        """The first sequence at which the order's log is broken. None if the log is intact."""
        order = self.order
        return first_bad_sequence(order["id"], order["events"], order["version"]) if order else None

    @cached_property
    def folded(self) -> Order | Exception | None:
        """The state after the order's events, or the fault in them. None without an order."""
        try:
            if self.order is None:
                return None
            folded = fold(self.order["id"], self.order["events"])
            if is_number_of(self.order["number"], self.order["id"]):
                folded["number"] = self.order["number"]
            return folded
        except Exception as error:
            # Any fault in an event is a difference of this order, and must not stop the check of the others.
            return error


class Level(NamedTuple):
    """The level of a product, None without one, and the sum of the product's movements."""

    product_id: str
    on_hand: int | None
    moved: int


class Finding(NamedTuple):
    """A disagreement that a check found."""

    ids: Mapping[str, Any]
    expected: str
    found: str
