"""The terms of announcing an event: the notification, the channel, and the outcome of a delivery."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypedDict

from app.orders.model import Order


class Notification(TypedDict):
    """One event on one channel. `id` is `<orderId>:<sequence>:<channel>`, which is unique.

    `type` and `at` are those of the event. `attempts` counts the started deliveries.
    """

    id: str
    orderId: str
    sequence: int
    channel: str
    type: str
    at: datetime
    attempts: int


class Delivery(NamedTuple):
    """The outcome of delivering one notification.

    `withheld` means that it is never sent, because there were too many. `detail` may be logged, so it has no
    address and no content.
    """

    status: Literal["sent", "try_again", "failed", "withheld"]
    detail: str = ""


class Channel(Protocol):
    """A way to announce an order's events to the outside.

    `instant` says that a delivery takes no time and cannot fail. So its record counts as sent from the start.
    """

    name: str
    instant: bool

    def wants(self, order: Order, event_type: str) -> bool:
        """Whether this channel announces this order's events of this type."""

    def deliver(self, notifications: Sequence[tuple[Notification, Order]]) -> Generator[Delivery]:
        """Delivers, and yields one outcome for each notification in the given order. Closing it stops the
        delivery.

        An expected failure is an outcome, not an exception. Each order is given as of its event. After a
        crash, a notification can come twice. So the channel has to let receivers recognize a repetition.
        """
