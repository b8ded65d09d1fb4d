"""Payments: what the steps ask of the provider, and what the provider reports by itself."""

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
    """What payments need."""

    orders: OrderServices
    provider: PaymentProvider
    events: PaymentEvents
    clock: Clock
    metrics: Metrics
    retention_days: int
