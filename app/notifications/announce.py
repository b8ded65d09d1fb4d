"""Announces every public event once per channel: records it under a unique key first, then delivers it."""

from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from app.backoff import backoff
from app.errors import OrderUnreadable
from app.notifications import NotificationServices
from app.notifications.mail.channel import MailChannel, mailed, template_of
from app.notifications.model import Channel, Delivery, Notification
from app.observability.tracing import about
from app.orders.events import is_public
from app.orders.history import as_of
from app.orders.log import Event
from app.orders.model import Order
from app.orders.saving import Saved, try_later
from app.orders.steps import ANNOUNCE, Step
from app.webhooks.delivery import record_deliveries

log = structlog.get_logger()

# How long a claim lasts. Afterwards another worker can claim a dead worker's notifications. A claim is
# renewed between two mails, once less than `_LEFT` remains.
CLAIM = timedelta(seconds=30)
_LEFT = timedelta(seconds=25)
_BATCH = 500
# The waits double from 5 s up to an hour, so the last attempt is after about a day.
_MOST_ATTEMPTS = 34

# The tasks that deliver what an announcement has recorded.
DELIVER, SEND_WEBHOOKS = "notifications.deliver", "notifications.send_webhooks"


class _News(NamedTuple):
    """An order, its public events that are not announced yet, and the notifications to record for them."""

    order: Order
    events: list[Event]
    wanted: list[Notification]


def announce(services: NotificationServices, due: list[Order], onward: Sequence[Step]) -> Iterator[Saved]:
    """Records notifications and webhooks for all unannounced public events of these orders.

    The caller records how far each order is announced. Raises DatabaseUnavailable.
    """
    news = [_news(services, order) for order in _with_events(services, due)]
    instant = {channel.name: channel for channel in services.channels if channel.instant}
    made, refused = services.store.record([each for one in news for each in one.wanted], sent=instant)
    # Instant channels deliver right here, since their new records count as sent already.
    by_id = {one.order["id"]: one.order for one in news}
    for name, channel in instant.items():
        batch = [(each, by_id[each["orderId"]]) for each in made if each["channel"] == name]
        for delivery in channel.deliver(batch):
            services.metrics.count("deliveries_total", name, delivery.status)
    left = _without_refused(services, news, refused)
    endpoints = record_deliveries(
        services.webhooks, [(one.order, event) for one in left for event in one.events]
    )
    announced = {one.order["id"]: one.order["version"] for one in left}
    orders: list[Order] = [
        {**order, "announced": announced[order["id"]], "unmarked": True}
        for order in due
        if order["id"] in announced
    ]
    messages = {
        DELIVER: [each["id"] for each in made if each["channel"] not in instant],
        SEND_WEBHOOKS: endpoints,
    }
    yield Saved(orders, messages=messages)


def _with_events(services: NotificationServices, orders: Sequence[Order]) -> list[Order]:
    """The orders with all events that are not announced. Reads the logs of those that have too few."""
    whole, short = list[Order](), list[str]()
    for order in orders:
        if order["events"] and order["events"][0]["sequence"] <= order.get("announced", 0) + 1:
            whole.append(order)
        else:
            short.append(order["id"])
    return whole + (services.orders.store.load_with_logs(short) if short else [])


def _news(services: NotificationServices, order: Order) -> _News:
    events = [
        event
        for event in order["events"]
        if event["sequence"] > order.get("announced", 0) and is_public(event["type"], event["at"])
    ]
    by_mail = mailed(events)
    wanted = [one for event in events for one in _wanted(services, order, event, by_mail)]
    return _News(order, events, wanted)


def _wanted(
    services: NotificationServices, order: Order, event: Event, by_mail: Container[int]
) -> list[Notification]:
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
        for channel in _channels(services, order, event, by_mail)
    ]


def _without_refused(
    services: NotificationServices, news: Sequence[_News], refused: Sequence[Notification]
) -> list[_News]:
    if not refused:
        return list(news)
    order_ids = {notification["orderId"] for notification in refused}
    log.error("database refuses notifications", order_ids=sorted(order_ids))
    without = [one.order for one in news if one.order["id"] in order_ids]
    try_later(services.orders, ANNOUNCE.name, without, "database_refused")
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


def templates(services: NotificationServices, order: Order, events: Sequence[Event]) -> list[str]:
    """The templates of the mails that these events send about the order."""
    by_mail = mailed(events)
    return [
        template_of(event["type"])
        for event in events
        for channel in _channels(services, order, event, by_mail)
        if isinstance(channel, MailChannel)
    ]


def forget_mail_counts(services: NotificationServices) -> None:
    """Removes the mail counts of past hours."""
    services.mail_counts.forget(services.clock())


def overdue_notifications(services: NotificationServices) -> list[str]:
    """The ids of notifications whose next attempt is due."""
    return services.store.overdue(services.clock(), _BATCH)


def _channels(
    services: NotificationServices, order: Order, event: Event, by_mail: Container[int]
) -> list[Channel]:
    """The channels for the event. Instant channels are used only if no other channel wants it.

    Mail is used for the sequences in `by_mail` only.
    """
    wanting = [
        channel
        for channel in services.channels
        if channel.wants(order, event["type"])
        and (event["sequence"] in by_mail or not isinstance(channel, MailChannel))
    ]
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


# The function that does each step.
EFFECTS = {ANNOUNCE: announce}
