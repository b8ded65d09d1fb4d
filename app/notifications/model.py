"""What it means to announce an event: the record of it, the channels it goes by, and what became of it."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypedDict

from app.orders.model import Order


class Notification(TypedDict):
    """One event to be told on one channel; `id` is `<orderId>:<sequence>:<channel>`, unique for ever.

    `type` and `at` are those of the event; `attempts` counts the deliveries begun.
    """

    id: str
    orderId: str
    sequence: int
    channel: str
    type: str
    at: datetime
    attempts: int


class Delivery(NamedTuple):
    """What became of one notification; `detail` is fit for a log: it holds no address and no content.

    What is `withheld` is never sent: there were too many.
    """

    status: Literal["sent", "try_again", "failed", "withheld"]
    detail: str = ""


class Channel(Protocol):
    """A way to tell the outside what happened to an order.

    `instant` says that delivery is done in no time and cannot fail, so the record of it is enough.
    """

    name: str
    instant: bool

    def wants(self, order: Order, event_type: str) -> bool:
        """Whether events of this type of this order are told here."""

    def deliver(self, notifications: Sequence[tuple[Notification, Order]]) -> Generator[Delivery]:
        """One outcome for each notification, in order, as it comes; closing it ends the delivery.

        An expected fault is an outcome, not an exception.

        Each order is as of its event. A notification may come twice, after a crash: the receiver must be
        able to tell that it is the same.
        """
