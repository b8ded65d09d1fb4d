"""The collaborators that every service function is given, put together once at the composition root."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from app.broker import Broker
from app.clock import Clock
from app.config import Settings
from app.erasure.store import PersonalData
from app.feed.cursors_store import FeedCursors
from app.feed.store import Feed
from app.notifications.mail_counts_store import MailCounts
from app.notifications.model import Channel
from app.notifications.store import Notifications
from app.observability.metrics import Metrics
from app.observability.tracing import Tracer
from app.orders.changes_store import OrderChanges
from app.orders.counts_store import Vitals
from app.orders.due_store import OrderDuties
from app.orders.model import Order
from app.orders.purged_store import PurgedOrders
from app.orders.store import Orders
from app.payments.event_store import PaymentEvents
from app.payments.model import PaymentProvider
from app.reconciliation.records_store import Audit
from app.reconciliation.store import Reconciliations
from app.stock.load_store import StockLoads
from app.stock.store import Stock
from app.webhooks.delivery_store import WebhookDeliveries
from app.webhooks.endpoint_store import WebhookEndpoints
from app.webhooks.sender import WebhookSender

T = TypeVar("T")


@dataclass(frozen=True)
class Shop:
    """`transact` runs its argument in one database transaction, and raises StockBusy after so many seconds of
    write conflicts if a number is given, too; `probes` tell a part's state.
    `shown` makes the form in which the outside sees an order."""

    settings: Settings
    clock: Clock
    orders: Orders
    duties: OrderDuties
    stock: Stock
    loads: StockLoads
    notifications: Notifications
    mail_counts: MailCounts
    payments: PaymentProvider
    channels: tuple[Channel, ...]
    transact: Callable[..., Any]
    probes: dict[str, Callable[[], str]]
    changes: OrderChanges
    webhook_endpoints: WebhookEndpoints
    webhook_deliveries: WebhookDeliveries
    webhooks: WebhookSender
    shown: Callable[[Order], Any]
    feed: Feed
    feed_cursors: FeedCursors
    personal_data: PersonalData
    payment_events: PaymentEvents
    purged: PurgedOrders
    audit: Audit
    reconciliations: Reconciliations
    vitals: Vitals
    broker: Broker
    metrics: Metrics
    tracer: Tracer

    def of(self, owner: str) -> "Shop":
        """The same shop as one user sees it: no orders and no webhook endpoints are there but its own."""
        return replace(
            self,
            orders=self.orders.of(owner),
            feed=self.feed.of(owner),
            webhook_endpoints=self.webhook_endpoints.of(owner),
        )

    def due_by(self) -> datetime:
        """The time by which a step that is set in motion now should have been done."""
        return self.clock() + self.settings.step_deadline
