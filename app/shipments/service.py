"""The operations on shipments: create, correct, deliver and cancel one, and read them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from app.orders import OrderServices
from app.orders.commands import Carried, Decision, Request, carry_out, found
from app.orders.goods import Shipment, shipments
from app.orders.model import Change, Order
from app.orders.reading import reads_order
from app.orders.service import shipments_of
from app.orders.shipping import correct, deliver, find, ship, take_back


class OrderShipment(NamedTuple):
    """A shipment with its order."""

    order: Order
    shipment: Shipment
    replayed: bool = False


@reads_order
def create_shipment(
    services: OrderServices, order_id: str, draft: Mapping[str, Any], request: Request
) -> OrderShipment:
    """Ships the pieces in `products`, or all that are open without it.

    If nothing is open afterwards, the order is shipped. Raises InvalidInput, IllegalTransition, NothingOpen,
    TooManyShipments, OnHold, and as `carry_out` does.
    """

    def decide(order: Order) -> Decision:
        changes = ship(order, draft.get("products"), draft.get("tracking"))
        return Decision(changes, made=changes[0].data["shipmentId"])

    carried = carry_out(services, order_id, "create_shipment", request, decide)
    return _with(services, carried, str(carried.made))


@reads_order
def correct_shipment(
    services: OrderServices, order_id: str, shipment_id: str, patch: Mapping[str, Any], request: Request
) -> OrderShipment:
    """Applies a merge patch (RFC 7396) to the tracking. Raises as `correct` and `carry_out` do."""
    return _change(
        services,
        order_id,
        shipment_id,
        "correct_shipment",
        request,
        lambda order, shipment: correct(order, shipment, patch),
    )


@reads_order
def deliver_shipment(
    services: OrderServices, order_id: str, shipment_id: str, request: Request
) -> OrderShipment:
    """Delivers the shipment. If it is the last one of a shipped order, the order is delivered.

    Raises as `deliver` and `carry_out` do.
    """
    return _change(services, order_id, shipment_id, "deliver_shipment", request, deliver)


@reads_order
def cancel_shipment(
    services: OrderServices, order_id: str, shipment_id: str, request: Request
) -> OrderShipment:
    """Cancels the shipment, so that its pieces are open again. Raises as `take_back` and `carry_out` do."""
    return _change(services, order_id, shipment_id, "cancel_shipment", request, take_back)


@reads_order
def list_shipments(services: OrderServices, order_id: str) -> list[OrderShipment]:
    """The shipments of the order, oldest first. Raises NotFound."""
    order = found(services.store.get(order_id))
    return [OrderShipment(order, one) for one in shipments_of(services, order)]


@reads_order
def get_shipment(services: OrderServices, order_id: str, shipment_id: str) -> OrderShipment:
    """The shipment of the order with this id. Raises NotFound."""
    order = found(services.store.get(order_id))
    return OrderShipment(order, find(shipments_of(services, order), shipment_id))


def _change(
    services: OrderServices,
    order_id: str,
    shipment_id: str,
    command: str,
    request: Request,
    change: Callable[[Order, Shipment], list[Change]],
) -> OrderShipment:
    def decide(order: Order) -> Decision | None:
        changes = change(order, find(shipments_of(services, order), shipment_id))
        return Decision(changes) if changes else None

    return _with(services, carry_out(services, order_id, command, request, decide), shipment_id)


def _with(services: OrderServices, carried: Carried, shipment_id: str) -> OrderShipment:
    """The order with the shipment, as the command left it."""
    order = carried.order
    there = shipments(order, order["events"]) if carried.replayed else shipments_of(services, order)
    return OrderShipment(order, find(there, shipment_id), carried.replayed)
