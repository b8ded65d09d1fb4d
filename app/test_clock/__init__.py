"""The test clock: moves the time of the whole service, and does what comes due on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.mongo.movable_clock import MovableClock
    from app.notifications import NotificationServices
    from app.orders import OrderServices
    from app.payments import PaymentServices
    from app.stock import StockServices
    from app.test_clock.store import DueTimes
    from app.webhooks import WebhookServices


@dataclass(frozen=True)
class TestClockServices:
    """The collaborators of the functions that move the time."""

    clock: MovableClock
    due_times: DueTimes
    orders: OrderServices
    payments: PaymentServices
    stock: StockServices
    notifications: NotificationServices
    webhooks: WebhookServices
