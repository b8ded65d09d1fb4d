"""Announces every public event once per channel: recorded under a unique key first, then delivered."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog

from app.domain.backoff import backoff
from app.domain.notifications import Channel, Delivery, Notification
from app.domain.order import PUBLIC, Order
from app.domain.steps import ANNOUNCE
from app.services.past import as_of
from app.services.shop import Shop
from app.services.webhook_delivery import record_deliveries
from app.tracing import about

log = structlog.get_logger()

# Longer than any delivery takes: after it the claim of a worker that died is free again.
_CLAIM = timedelta(minutes=5)
# With waits that double from 5 s up to an hour, the last attempt comes after about a day.
_MOST_ATTEMPTS = 34


class Announced(NamedTuple):
    """What is to be delivered now: ids of notifications, and of endpoints that have webhooks due."""

    notifications: list[str]
    endpoints: list[str]


def announce(shop: Shop, order_ids: Sequence[str]) -> Announced:
    """Records the notifications and webhooks of all public events of these orders not announced yet."""
    orders = [
        order
        for order in shop.orders.load_with_logs(order_ids)
        if order.get("announced", 0) < order["publicVersion"]
    ]
    by_id = {order["id"]: order for order in orders}
    news = [
        (order, event)
        for order in orders
        for event in order["events"]
        if event["sequence"] > order.get("announced", 0) and event["type"] in PUBLIC
    ]
    wanted = [
        Notification(
            id=f"{order['id']}:{event['sequence']}:{channel.name}",
            orderId=order["id"],
            sequence=event["sequence"],
            type=event["type"],
            channel=channel.name,
            at=event["at"],
            attempts=0,
        )
        for order, event in news
        for channel in _channels(shop, order, event["type"])
    ]
    instant = {channel.name: channel for channel in shop.channels if channel.instant}
    with shop.tracer.orders(ANNOUNCE, orders):
        recorded = shop.notifications.record(wanted, sent=instant)
        endpoints = record_deliveries(shop, news)
        shop.duties.mark_announced(orders)
    for name, channel in instant.items():
        told = [(made, by_id[made["orderId"]]) for made in recorded if made["channel"] == name]
        for delivery in channel.deliver(told):
            shop.metrics.count("deliveries_total", name, delivery.status)
    return Announced([made["id"] for made in recorded if made["channel"] not in instant], endpoints)


def deliver(shop: Shop, notification_ids: Sequence[str]) -> None:
    """Delivers those of the notifications that are due; what fails for now is tried again later."""
    now = shop.clock()
    claimed = shop.notifications.claim(notification_ids, now, now + _CLAIM)
    orders = {order["id"]: order for order in shop.orders.load_with_logs({n["orderId"] for n in claimed})}
    past = {n["id"]: as_of(orders.get(n["orderId"]), n["sequence"]) for n in claimed}
    for channel in shop.channels:
        batch = [(n, order) for n in claimed if n["channel"] == channel.name and (order := past[n["id"]])]
        if batch:
            with shop.tracer.orders(channel.name, [order for _, order in batch], outward=True):
                outcomes = channel.deliver(batch)
            for (notification, order), delivery in zip(batch, outcomes, strict=True):
                _note(shop, notification, delivery, about(order))
    served = {channel.name for channel in shop.channels}
    for notification in claimed:
        if past[notification["id"]] is None or notification["channel"] not in served:
            gone = Delivery("failed", "the order or the channel is gone")
            _note(shop, notification, gone, {"order_id": notification["orderId"]})


def _channels(shop: Shop, order: Order, event_type: str) -> list[Channel]:
    """The channels that tell of the event; the instant ones only where no other does."""
    wanting = [channel for channel in shop.channels if channel.wants(order, event_type)]
    return [channel for channel in wanting if not channel.instant] or wanting


def _note(shop: Shop, notification: Notification, delivery: Delivery, told: dict[str, str]) -> None:
    now = shop.clock()
    told = {"notification": notification["id"], "type": notification["type"], **told}
    if delivery.detail:
        told["detail"] = delivery.detail
    if delivery.status == "try_again" and notification["attempts"] < _MOST_ATTEMPTS:
        wait = backoff(notification["attempts"], base=5, longest=3600)
        shop.notifications.postpone(notification["id"], now + wait, delivery.detail)
        shop.metrics.count("deliveries_total", notification["channel"], "try_again")
        log.warning("notification will be tried again", **told)
        return
    status = "sent" if delivery.status == "sent" else "failed"
    shop.notifications.close(notification["id"], status, now, delivery.detail)
    shop.metrics.count("deliveries_total", notification["channel"], status)
    if status == "failed":
        log.error("notification failed", **told)
    else:
        log.info("notification sent", **told)
