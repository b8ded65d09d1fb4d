"""The collaborators that every service function is given, put together once at the composition root."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from app.config import Settings
from app.domain.clock import Clock
from app.domain.notifications import Channel
from app.domain.order import Order
from app.domain.payments import PaymentProvider
from app.gateways.broker import Broker
from app.gateways.webhooks import WebhookSender
from app.metrics import Metrics
from app.storage.audit import Audit
from app.storage.changes import OrderChanges
from app.storage.feed import Feed
from app.storage.feed_cursors import FeedCursors
from app.storage.mail_counts import MailCounts
from app.storage.notifications import Notifications
from app.storage.order_duties import OrderDuties
from app.storage.orders import Orders
from app.storage.payment_events import PaymentEvents
from app.storage.personal_data import PersonalData
from app.storage.purged_orders import PurgedOrders
from app.storage.reconciliations import Reconciliations
from app.storage.stock import Stock
from app.storage.stock_loads import StockLoads
from app.storage.vitals import Vitals
from app.storage.webhook_deliveries import WebhookDeliveries
from app.storage.webhook_endpoints import WebhookEndpoints
from app.tracing import Tracer

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
