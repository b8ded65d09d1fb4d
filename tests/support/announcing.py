"""Announces the events of orders by their ids, as the worker does that gets the message."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from app.notifications.announce import DELIVER, SEND_WEBHOOKS
from app.orders.processing import perform
from app.orders.steps import ANNOUNCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.notifications import NotificationServices


class Announced(NamedTuple):
    """The ids of notifications to deliver now, and of endpoints with due webhooks."""

    notifications: list[str]
    endpoints: list[str]


def announce(services: NotificationServices, order_ids: Sequence[str]) -> Announced:
    """Announces what is not announced yet, and returns what the worker sends messages for."""
    sent: dict[str, list[str]] = defaultdict(list)

    def send(owed: Mapping[str, Sequence[str]]) -> None:
        for name, ids in owed.items():
            sent[name] += ids

    perform(services.orders, ANNOUNCE, order_ids, send=send)
    return Announced(sent[DELIVER], sorted(set(sent[SEND_WEBHOOKS])))
