"""Notifications: every public event is recorded once per channel, then delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.clock import Clock
    from app.notifications.mail_counts_store import MailCounts
    from app.notifications.model import Channel
    from app.notifications.store import Notifications
    from app.observability.metrics import Metrics
    from app.observability.tracing import Tracer
    from app.orders import OrderServices
    from app.webhooks import WebhookServices


@dataclass(frozen=True)
class NotificationServices:
    """The collaborators of the notification functions."""

    orders: OrderServices
    webhooks: WebhookServices
    store: Notifications
    mail_counts: MailCounts
    channels: tuple[Channel, ...]
    clock: Clock
    metrics: Metrics
    tracer: Tracer
