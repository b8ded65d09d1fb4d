"""Announces every public event once per channel: records it under a unique key first, then delivers it."""

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import structlog

from app.apart import apart
from app.backoff import backoff
from app.errors import OrderUnreadable
from app.notifications import NotificationServices
from app.notifications.model import Channel, Delivery, Notification
from app.observability.tracing import about
from app.orders.events import is_public
from app.orders.history import as_of
from app.orders.log import Event
from app.orders.model import Order
from app.orders.saving import set_aside, try_later
from app.orders.steps import ANNOUNCE
from app.webhooks.delivery import record_deliveries

log = structlog.get_logger()

# How long a claim lasts. Afterwards another worker can claim a dead worker's notifications. A claim is
# renewed between two mails, once less than `_LEFT` remains.
CLAIM = timedelta(seconds=30)
_LEFT = timedelta(seconds=25)
_BATCH = 500
# The waits double from 5 s up to an hour, so the last attempt is after about a day.
_MOST_ATTEMPTS = 34


class Announced(NamedTuple):
    """The ids of notifications to deliver now, and of endpoints with due webhooks."""

    notifications: list[str]
    endpoints: list[str]


class _News(NamedTuple):
    """An order, its public events that are not announced yet, and the notifications to record for them."""

    order: Order
    events: list[Event]
    wanted: list[Notification]


def announce(services: NotificationServices, order_ids: Sequence[str]) -> Announced:
    """Records notifications and webhooks for all unannounced public events of these orders.

    If this fails for one order, that order is logged and retried later. Raises DatabaseUnavailable.
    """
    orders, give_up = (
        services.orders.store.load_with_logs(order_ids),
        partial(set_aside, services.orders, ANNOUNCE),
    )
    news = apart(orders, partial(_news, services), give_up)
    announced = apart(news, partial(_announce, services), lambda one, error: give_up(one.order, error))
    return Announced(
        [notification for part in announced for notification in part.notifications],
        sorted({endpoint for part in announced for endpoint in part.endpoints}),
    )


def _news(services: NotificationServices, orders: Sequence[Order]) -> list[_News]:
    news = []
    for order in orders:
        announced = order.get("announced", 0)
        if announced < order["publicVersion"]:
            public = [event for event in order["events"] if is_public(event["type"], event["at"])]
            events = [event for event in public if event["sequence"] > announced]
            wanted = [one for event in events for one in _wanted(services, order, event)]
            news.append(_News(order, events, wanted))
    return news


def _wanted(services: NotificationServices, order: Order, event: Event) -> list[Notification]:
    return [
        Notification(
            id=f"{order['id']}:{event['sequence']}:{channel.name}",
            orderId=order["id"],
            sequence=event["sequence"],
            type=event["type"],
            channel=channel.name,
            at=event["at"],
            attempts=0,
        )
        for channel in _channels(services, order, event["type"])
    ]


def _announce(services: NotificationServices, news: Sequence[_News]) -> list[Announced]:
    by_id = {one.order["id"]: one.order for one in news}
    instant = {channel.name: channel for channel in services.channels if channel.instant}
    with services.tracer.orders(ANNOUNCE, list(by_id.values())):
        made, refused = services.store.record([each for one in news for each in one.wanted], sent=instant)
        # Instant channels deliver right here, since their new records count as sent already.
        for name, channel in instant.items():
            batch = [(each, by_id[each["orderId"]]) for each in made if each["channel"] == name]
            for delivery in channel.deliver(batch):
                services.metrics.count("deliveries_total", name, delivery.status)
        left = _without_refused(services, news, refused)
        endpoints = record_deliveries(
            services.webhooks, [(one.order, event) for one in left for event in one.events]
        )
        services.orders.due_work.mark_announced([one.order for one in left])
    return [Announced([each["id"] for each in made if each["channel"] not in instant], endpoints)]


def _without_refused(
    services: NotificationServices, news: Sequence[_News], refused: Sequence[Notification]
) -> list[_News]:
    if not refused:
        return list(news)
    order_ids = {notification["orderId"] for notification in refused}
    log.error("database refuses notifications", order_ids=sorted(order_ids))
    try_later(services.orders, ANNOUNCE, [one.order for one in news if one.order["id"] in order_ids])
    return [one for one in news if one.order["id"] not in order_ids]


def deliver(services: NotificationServices, notification_ids: Sequence[str]) -> None:
    """Delivers those of the notifications that are due. A delivery that fails for now is retried later."""
    claims = _Claims(services, services.clock(), notification_ids)
    claimed = claims.claimed
    orders = {
        order["id"]: order for order in services.orders.store.load_with_logs({n["orderId"] for n in claimed})
    }
    left = {n["id"]: Delivery("failed", "the order or the channel is gone") for n in claimed}
    past = {}
    for notification in claimed:
        try:
            if order := orders.get(notification["orderId"]):
                past[notification["id"]] = as_of(order, notification["sequence"])
        except OrderUnreadable:
            left[notification["id"]] = Delivery("try_again", "the order cannot be read")
    for channel in services.channels:
        batch = [(n, past[n["id"]]) for n in claimed if n["channel"] == channel.name and n["id"] in past]
        if batch:
            with services.tracer.orders(channel.name, [order for _, order in batch], outward=True):
                _deliver(services, channel, batch, claims)
            for notification, _ in batch:
                del left[notification["id"]]
    for notification in claimed:
        if notification["id"] in left:
            _note(services, notification, left[notification["id"]], {"order_id": notification["orderId"]})


class _Claims:
    """This worker's claims on the notifications of one batch."""

    def __init__(self, services: NotificationServices, now: datetime, ids: Sequence[str]) -> None:
        self._services = services
        self._until = now + CLAIM
        self._held = {claimed["id"]: claimed for claimed in services.store.claim(ids, now, self._until)}
        self.claimed = list(self._held.values())

    def hold(self) -> bool:
        """Renews the claims if that is due. False if they ended, since another worker may have them now."""
        now = self._services.clock()
        if now < self._until - _LEFT:
            return True
        held, self._until = self._until, now + CLAIM
        return now < held and self._services.store.renew(self._held, held, self._until)

    def end(self, notification_id: str) -> None:
        """Ends the claim on a finished notification."""
        del self._held[notification_id]


def _deliver(
    services: NotificationServices, channel: Channel, batch: list[tuple[Notification, Order]], claims: _Claims
) -> None:
    """Delivers and records one notification after the other. So a crash in between doubles at most one
    mail."""
    with closing(channel.deliver(batch)) as outcomes:
        for number, (notification, order) in enumerate(batch):
            if not claims.hold():
                log.warning("claims ended, notifications left to other workers", number=len(batch) - number)
                return
            _note(services, notification, next(outcomes), about(order))
            claims.end(notification["id"])


def forget_mail_counts(services: NotificationServices) -> None:
    """Removes the mail counts of past hours."""
    services.mail_counts.forget(services.clock())


def overdue_notifications(services: NotificationServices) -> list[str]:
    """The ids of notifications whose next attempt is due."""
    return services.store.overdue(services.clock(), _BATCH)


def _channels(services: NotificationServices, order: Order, event_type: str) -> list[Channel]:
    """The channels for the event. Instant channels are used only if no other channel wants it."""
    wanting = [channel for channel in services.channels if channel.wants(order, event_type)]
    return [channel for channel in wanting if not channel.instant] or wanting


def _note(
    services: NotificationServices, notification: Notification, delivery: Delivery, fields: dict[str, str]
) -> None:
    now = services.clock()
    fields = {"notification": notification["id"], "type": notification["type"], **fields}
    if delivery.detail:
        fields["detail"] = delivery.detail
    if delivery.status == "try_again" and notification["attempts"] < _MOST_ATTEMPTS:
        wait = backoff(notification["attempts"], base=5, longest=3600)
        services.store.postpone(notification["id"], now + wait, delivery.detail)
        services.metrics.count("deliveries_total", notification["channel"], "try_again")
        log.warning("notification will be tried again", **fields)
        return
    status = "failed" if delivery.status == "try_again" else delivery.status
    services.store.close(notification["id"], status, now, delivery.detail)
    services.metrics.count("deliveries_total", notification["channel"], status)
    if status == "failed":
        log.error("notification failed", **fields)
    elif status == "withheld":
        log.warning("notification withheld", **fields)
    else:
        log.info("notification sent", **fields)
