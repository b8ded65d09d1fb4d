"""The channel that needs no configuration: it writes events to the log if no other channel wants them."""

from collections.abc import Generator, Sequence

import structlog

from app.notifications.model import Delivery, Notification
from app.observability.tracing import about
from app.orders.events import PUBLIC
from app.orders.model import Order

log = structlog.get_logger(__name__)


class LogChannel:
    """Writes one line per notification, without personal data."""

    name = "log"
    instant = True

    def wants(self, order: Order, event_type: str) -> bool:
        """Wants every public event."""
        return event_type in PUBLIC

    def deliver(self, notifications: Sequence[tuple[Notification, Order]]) -> Generator[Delivery]:
        """Writes the lines. Every outcome is `sent`."""
        for notification, order in notifications:
            log.info(
                "notification", type=notification["type"], sequence=notification["sequence"], **about(order)
            )
            yield Delivery("sent")
