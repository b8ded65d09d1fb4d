"""The channel that is always there: events are told in the log, where no mail server is configured."""

from collections.abc import Sequence

import structlog

from app.domain.notifications import Delivery, Notification
from app.domain.order import PUBLIC, Order

log = structlog.get_logger(__name__)


class LogChannel:
    """Writes one line per notification; nothing in it tells who the customer is."""

    name = "log"
    instant = True

    def wants(self, order: Order, event_type: str) -> bool:
        """Every public event."""
        return event_type in PUBLIC

    def deliver(self, notifications: Sequence[tuple[Notification, Order]]) -> list[Delivery]:
        """Always sent."""
        for notification, _ in notifications:
            log.info(
                "notification",
                order_id=notification["orderId"],
                type=notification["type"],
                sequence=notification["sequence"],
            )
        return [Delivery("sent")] * len(notifications)
