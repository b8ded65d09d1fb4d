"""Webhooks: signed public events, sent to the endpoints that subscribe to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.clock import Clock
    from app.observability.metrics import Metrics
    from app.observability.tracing import Tracer
    from app.orders import OrderServices
    from app.webhooks.delivery_store import WebhookDeliveries
    from app.webhooks.endpoint_store import WebhookEndpoints
    from app.webhooks.sender import WebhookSender


@dataclass(frozen=True)
class WebhookServices:
    """The collaborators of the webhook functions.

    Signatures carry the time of `real_clock`, since receivers compare it with their own clocks.
    """

    orders: OrderServices
    endpoints: WebhookEndpoints
    deliveries: WebhookDeliveries
    sender: WebhookSender
    retention_days: int
    clock: Clock
    real_clock: Clock
    metrics: Metrics
    tracer: Tracer

    def of(self, owner: str) -> WebhookServices:
        """The same services, limited to the endpoints of one caller."""
        return replace(self, endpoints=self.endpoints.of(owner))
