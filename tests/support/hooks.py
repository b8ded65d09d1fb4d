"""What tests of webhooks have in common: orders that are announced, and what was recorded of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.notifications.announce import announce
from app.webhooks import service as webhooks
from tests.support.doubles import Crash

if TYPE_CHECKING:
    from app.orders.model import Order
    from app.services import Services
    from app.webhooks.model import Endpoint
    from tests.support.service_fixtures import Place


def records(services: Services, endpoint: Endpoint) -> list[Any]:
    """What was recorded for the endpoint, oldest first."""
    return webhooks.list_deliveries(services.webhooks, endpoint["id"], None, 100, None).items[::-1]


def announced(services: Services, place: Place, number: int = 1) -> list[Order]:
    """So many new orders, announced."""
    orders = [place() for _ in range(number)]
    announce(services.notifications, [order["id"] for order in orders])
    return orders


def crash() -> None:
    """Dies."""
    raise Crash
