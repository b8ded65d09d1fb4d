"""Shipments: each is part of its order's state. These are the folds of their events."""

from collections.abc import Callable
from typing import Any

from app.errors import IllegalTransition
from app.orders import goods
from app.orders.events import EVENTS
from app.orders.log import Event
from app.orders.states import SHIPMENT_STATUS


def _created(order: dict[str, Any], event: Event) -> None:
    data, at = {**event["data"]}, event["at"]
    made = {"id": data.pop("shipmentId"), "status": "shipped", **data, "createdAt": at, "updatedAt": at}
    order["shipments"] = [*order.get("shipments", ()), made]
    _track(order)


def _changed(order: dict[str, Any], event: Event) -> None:
    order["shipments"] = [
        _after(one, event) if one["id"] == event["data"]["shipmentId"] else one
        for one in goods.shipments(order)
    ]
    _track(order)


def _after(shipment: goods.Shipment, event: Event) -> goods.Shipment:
    """The shipment after the event. An order that an earlier release shipped stores it from now on."""
    status, at, data = EVENTS[event["type"]].value, event["at"], event["data"]
    after: dict[str, Any] = {**shipment, "updatedAt": at}
    if "createdAt" in data:
        after["createdAt"] = data["createdAt"]
    if status is None:
        after["corrections"] = shipment.get("corrections", 0) + 1
        after.pop("tracking", None)
        if "tracking" in data:
            after["tracking"] = data["tracking"]
        return after  # type: ignore[return-value]
    if status not in SHIPMENT_STATUS[shipment["status"]]:
        raise IllegalTransition(shipment["status"], status, (), "shipment")
    after["status"] = status
    if status == "delivered":
        after["deliveredAt"] = at
    return after  # type: ignore[return-value]


def _track(order: dict[str, Any]) -> None:
    """The tracking of an order is that of its newest live shipment."""
    live = goods.live_shipments(order)
    order.pop("tracking", None)
    if live and "tracking" in live[-1]:
        order["tracking"] = live[-1]["tracking"]


# What each of these events changes in an order, beyond its version and time.
FOLDS: dict[str, Callable[[dict[str, Any], Event], None]] = {
    "shipment.created": _created,
    "shipment.corrected": _changed,
    "shipment.delivered": _changed,
    "shipment.cancelled": _changed,
}
