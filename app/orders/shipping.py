"""The changes that ship the goods of an order, deliver them, and take a shipment back."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import (
    HistoryFull,
    IllegalTransition,
    NotFound,
    NothingOpen,
    OnHold,
    PiecesReturned,
    TooManyShipments,
)
from app.orders import goods
from app.orders.bounds import MOST_CORRECTIONS, MOST_SHIPMENTS
from app.orders.corrections import merged
from app.orders.goods import Shipment
from app.orders.holds import blocking
from app.orders.model import Change, Order, allowed_to_clients
from app.orders.states import SHIPMENT_STATUS


def ship(
    order: Order, products: Sequence[Mapping[str, Any]] | None, tracking: Mapping[str, str] | None
) -> list[Change]:
    """The changes that ship these pieces, or all that are open if None.

    Raises InvalidInput, IllegalTransition for a pending order, NothingOpen, TooManyShipments, OnHold.
    """
    goods.require_lines(order, products or ())
    if order["status"] == "pending":
        raise IllegalTransition(order["status"], "shipped", allowed_to_clients(order))
    left = goods.open_pieces(order)
    wanted = goods.numbered(left) if products is None else products
    for entry in wanted:
        left[entry["line"] - 1] -= entry["quantity"]
    if not wanted or min(left) < 0:
        raise NothingOpen(goods.numbered(goods.open_pieces(order)))
    made = order.get("shipments", ())
    if len(made) >= MOST_SHIPMENTS:
        raise TooManyShipments(MOST_SHIPMENTS)
    if holds := blocking(order, "ship"):
        raise OnHold(holds)
    own = {"tracking": {**tracking}} if tracking else {}
    data = {"shipmentId": goods.next_id(order, "s", made), "products": [{**entry} for entry in wanted], **own}
    whole = [] if any(left) else [Change("order.shipped", own)]
    return [Change("shipment.created", data), *whole]


def correct(order: Order, shipment: Shipment, patch: Mapping[str, Any]) -> list[Change]:
    """The changes that apply a merge patch (RFC 7396) to the shipment; none if it changes nothing.

    Raises IllegalTransition for a shipment that has ended, HistoryFull.
    """
    before = {"tracking": shipment["tracking"]} if "tracking" in shipment else {}
    after = {name: tracking for name, tracking in merged(before, patch).items() if tracking}
    if after == before:
        return []
    if not SHIPMENT_STATUS[shipment["status"]]:
        raise IllegalTransition(shipment["status"], "corrected", (), "shipment")
    corrections = sum(one.get("corrections", 0) for one in order.get("shipments", ()))
    if corrections >= MOST_CORRECTIONS:
        raise HistoryFull(corrections, "corrections of shipments")
    return [_change(order, "shipment.corrected", shipment, after)]


def deliver(order: Order, shipment: Shipment) -> list[Change]:
    """The changes that deliver the shipment; none if it is delivered. Raises IllegalTransition."""
    if shipment["status"] == "delivered":
        return []
    _require(shipment, "delivered")
    others = (one["status"] for one in goods.live_shipments(order) if one["id"] != shipment["id"])
    is_last = order["status"] == "shipped" and all(status == "delivered" for status in others)
    whole = [Change("order.delivered")] if is_last else []
    return [_change(order, "shipment.delivered", shipment), *whole]


def deliver_all(order: Order, shipments: Sequence[Shipment]) -> list[Change]:
    """The changes that deliver all live shipments of a shipped order, and so the order."""
    under_way = [one for one in shipments if one["status"] == "shipped"]
    changes = [_change(order, "shipment.delivered", one) for one in under_way]
    return [*changes, Change("order.delivered")]


def take_back(order: Order, shipment: Shipment) -> list[Change]:
    """The changes that cancel the shipment; none if it is cancelled. A shipped order is confirmed again.

    Raises IllegalTransition, PiecesReturned.
    """
    if shipment["status"] == "cancelled":
        return []
    _require(shipment, "cancelled")
    returnable = goods.returnable(order)
    if any(entry["quantity"] > returnable[entry["line"] - 1] for entry in shipment["products"]):
        raise PiecesReturned
    reopened = [Change("order.reopened")] if order["status"] == "shipped" else []
    return [_change(order, "shipment.cancelled", shipment), *reopened]


def find(shipments: Sequence[Shipment], shipment_id: str) -> Shipment:
    """The shipment with this id. Raises NotFound."""
    for one in shipments:
        if one["id"] == shipment_id:
            return one
    raise NotFound("The shipment does not exist.")


def _require(shipment: Shipment, status: str) -> None:
    """Raises IllegalTransition if the shipment cannot have this status next."""
    if status not in (allowed := SHIPMENT_STATUS[shipment["status"]]):
        raise IllegalTransition(shipment["status"], status, allowed, "shipment")


def _change(order: Order, kind: str, shipment: Shipment, more: Mapping[str, Any] | None = None) -> Change:
    """A change of a shipment. If an earlier release shipped the order, it says when that was."""
    data = {"shipmentId": shipment["id"], **(more or {})}
    return Change(kind, data if "shipments" in order else {**data, "createdAt": shipment["createdAt"]})
