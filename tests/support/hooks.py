"""Helpers for tests of webhooks: announced orders, and their recorded deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.webhooks import service as webhooks
from tests.support.announcing import announce
from tests.support.doubles import Crash

if TYPE_CHECKING:
    from app.orders.model import Order
    from app.services import Services
    from app.webhooks.model import Endpoint
    from tests.support.service_fixtures import Place


def records(services: Services, endpoint: Endpoint) -> list[Any]:
    """The endpoint's deliveries, oldest first."""
    return webhooks.list_deliveries(services.webhooks, endpoint["id"], None, 100, None).items[::-1]


def announced(services: Services, place: Place, number: int = 1) -> list[Order]:
    """So many new orders, announced."""
    orders = [place() for _ in range(number)]
    announce(services.notifications, [order["id"] for order in orders])
    return orders


def crash() -> None:
    """Dies."""
    raise Crash
