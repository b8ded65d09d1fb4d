"""Payments: the steps that call the payment provider, and the events that the provider sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.clock import Clock
    from app.observability.metrics import Metrics
    from app.orders import OrderServices
    from app.payments.event_store import PaymentEvents
    from app.payments.model import PaymentProvider


@dataclass(frozen=True)
class PaymentServices:
    """The collaborators of the payment functions."""

    orders: OrderServices
    provider: PaymentProvider
    events: PaymentEvents
    clock: Clock
    metrics: Metrics
    retention_days: int
