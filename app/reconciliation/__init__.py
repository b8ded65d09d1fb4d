"""Reconciliation: compares orders, money and stock, and repairs what is safe to repair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.clock import Clock
    from app.config import Settings
    from app.feed.store import Feed
    from app.orders import OrderServices
    from app.orders.changes_store import OrderChanges
    from app.payments import PaymentServices
    from app.reconciliation.records_store import Audit
    from app.reconciliation.store import Reconciliations
    from app.webhooks import WebhookServices


@dataclass(frozen=True)
class ReconciliationServices:
    """The dependencies of reconciliation."""

    orders: OrderServices
    payments: PaymentServices
    webhooks: WebhookServices
    feed: Feed
    changes: OrderChanges
    audit: Audit
    reports: Reconciliations
    clock: Clock
    settings: Settings
