"""The channel that is always there: events are told in the log, where no mail server is configured."""

from collections.abc import Generator, Sequence

import structlog

from app.notifications.model import Delivery, Notification
from app.observability.tracing import about
from app.orders.events import PUBLIC
from app.orders.model import Order

log = structlog.get_logger(__name__)


class LogChannel:
    """Writes one line per notification; nothing in it tells who the customer is."""

    name = "log"
    instant = True

    def wants(self, order: Order, event_type: str) -> bool:
        """Every public event."""
        return event_type in PUBLIC

    def deliver(self, notifications: Sequence[tuple[Notification, Order]]) -> Generator[Delivery]:
        """Always sent."""
        for notification, order in notifications:
            log.info(
                "notification", type=notification["type"], sequence=notification["sequence"], **about(order)
            )
            yield Delivery("sent")
