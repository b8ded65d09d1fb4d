"""Places and releases holds, and lets a worker take orders as far as they go."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.holds.service import place_hold, release_hold
from app.orders import steps
from app.orders.commands import Request
from app.orders.processing import perform

if TYPE_CHECKING:
    from app.orders.model import Order
    from app.services import Services
    from tests.support.books import Books

SHOP = Request("shop")
LINES: dict[str, Any] = {"apple": 2, "bread": 1}
ON_HAND = {"apple": 5, "bread": 5}
LEFT = {"apple": 3, "bread": 4}
TICK = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)
BLOCKS = ["capture", "ship"]


def hold(services: Services, order_id: str, code: str = "review", **more: Any) -> Order:
    """Places a hold; the order with it."""
    draft = {"code": code, "blocks": BLOCKS, "then": "release", **more}
    return place_hold(services.orders, order_id, draft, SHOP).order


def release(services: Services, order_id: str, code: str = "review") -> Order:
    """Releases the hold; the order without it."""
    return release_hold(services.orders, order_id, code, None, SHOP)[0]


def run(services: Services, *order_ids: str, step: steps.Step = steps.AUTHORIZE) -> None:
    """What a worker of all queues does with the message."""
    perform(services.orders, step, order_ids, steps.STEPS)


def cancellation_of(books: Books, order_id: str) -> str | None:
    return books.order(order_id).get("cancellation", {}).get("reason")


def types(books: Books, order_id: str) -> list[str]:
    return [event["type"] for event in books.order(order_id)["events"]]
