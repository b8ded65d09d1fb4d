"""Diagnosis: what an order waits for, and since when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.diagnosis.store import Candidates
    from app.notifications.store import Notifications
    from app.orders import OrderServices
    from app.webhooks.delivery_store import WebhookDeliveries


@dataclass(frozen=True)
class DiagnosisServices:
    """The collaborators of the diagnosis functions."""

    orders: OrderServices
    candidates: Candidates
    notifications: Notifications
    deliveries: WebhookDeliveries

    def of(self, owner: str) -> DiagnosisServices:
        """The same services, limited to the orders of one user."""
        return replace(self, orders=self.orders.of(owner))
