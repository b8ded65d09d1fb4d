"""Payments as others leave them at the provider, and orders that have ended without them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from app.orders.model import Change
from app.orders.saving import save
from app.orders.service import cancellation
from app.payments.events import events_due, receive, take_in
from app.payments.model import Repayment
from app.payments.steps import charge
from tests.support.payment_events import event, signed

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.services import Services

TOTAL = 1000


class Outside:
    """Actions of others at the provider."""

    def __init__(self, database: OrderDatabase, services: Services) -> None:
        self._payments = database["sandbox_payments"]
        self._services = services

    def make(self, order: Order, status: str, captured: int = 0, refunded: int = 0, **other: Any) -> None:
        """Has the payment of the order so, whatever was there."""
        self._payments.replace_one(
            {"_id": order["id"]},
            {
                "status": status, "amount": TOTAL, "currency": "USD", "captured": captured,
                "refunded": refunded, "at": self._services.clock(), **other,
            },
            upsert=True,
        )  # fmt: skip

    def capture(self, order: Order) -> None:
        """Takes the money."""
        list(self._services.payments.provider.capture([charge(order)]))

    def refund(self, order: Order, amount: int, name: str = "outside") -> None:
        """Gives money back at the provider's own dashboard."""
        list(self._services.payments.provider.refund([Repayment(charge(order), name, 1, amount)]))


class ProviderEvents:
    """Posts events as the payment provider does, and processes them as the workers do."""

    def __init__(self, database: OrderDatabase, services: Services) -> None:
        self._services = services
        self._rows = database["payment_events"]

    def post(self, order_id: str | None, kind: str = "payment.captured", event_id: str | None = None) -> str:
        """Posts an event; its id."""
        call = signed(event(order_id, kind), event_id)
        receive(self._services.payments, "sandbox", call.headers, call.body)
        return f"sandbox:{call.headers['webhook-id']}"

    def work(self) -> None:
        """One tick of beat, and what the workers make of it."""
        take_in(self._services.payments, events_due(self._services.payments))

    def row(self, event_id: str) -> dict[str, Any]:
        """The event as it is stored."""
        (row,) = self._rows.find({"_id": event_id})
        return row

    def ends(self) -> Counter[str]:
        """How many events have each status."""
        return Counter(row["status"] for row in self._rows.find())


def end(services: Services, order: Order, kind: str) -> Order:
    """Ends the order with a closed payment, though the provider knows nothing of it."""
    changes = [Change(kind), *cancellation(order, "payment_declined")]
    save(services.orders, {order["id"]: changes}, {order["id"]: services.orders.store.load([order["id"]])[0]})
    return services.orders.store.load([order["id"]])[0]
