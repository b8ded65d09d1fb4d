"""The routes of the shipments of an order."""

from typing import Any

from flask import Response, g, request

from app.http.answers import REPLAYED, answer, located, location
from app.http.authentication import require_json_accepted
from app.http.parsing import Blueprint
from app.http.request_context import services
from app.http.route_metadata import declares
from app.orders import public
from app.orders.command_requests import as_request, headers_of
from app.orders.commands import Request
from app.orders.reading import reading
from app.orders.routes import ETAG
from app.shipments import service as shipping
from app.shipments.schemas import (
    CORRECTION,
    MERGE_PATCH,
    NEW_SHIPMENT,
    SHIPMENT_EXAMPLE,
    NoBodyIn,
    ShipmentIn,
    ShipmentOut,
    ShipmentPatch,
    ShipmentsOut,
)

blueprint = Blueprint("shipments", __name__, description="Shipments of orders.")
blueprint.before_request(require_json_accepted)

_COMMAND = (
    "bad_header",
    "not_found",
    "illegal_transition",
    "history_full",
    "stale_version",
    "idempotency_key_reused",
    "order_unreadable",
)
_HEADERS = ("Idempotency-Key", "If-Match")
_DELIVERED = {"status": "delivered", "deliveredAt": SHIPMENT_EXAMPLE["updatedAt"]}


@blueprint.post("/orders/<order_id>/shipments")
@blueprint.arguments(ShipmentIn(), required=False, example=NEW_SHIPMENT)
@blueprint.response(
    201, ShipmentOut, headers={**ETAG, **location("shipment"), **REPLAYED}, example=SHIPMENT_EXAMPLE
)
@declares("orders:admin", "nothing_open", "on_hold", "too_many_shipments", *_COMMAND, headers=_HEADERS)
def create_shipment(draft: dict[str, Any], order_id: str) -> Response:
    """Ship pieces of an order

    Without `products`, all open pieces are shipped. The order is `shipped` once nothing is open.
    """
    made = shipping.create_shipment(services().orders, order_id, draft, _request())
    return _shown(made, 201, located(made.shipment["id"]))


@blueprint.get("/orders/<order_id>/shipments")
@blueprint.response(200, ShipmentsOut, example={"shipments": [SHIPMENT_EXAMPLE]})
@declares("orders:read", "not_found", "order_unreadable")
def list_shipments(order_id: str) -> Response:
    """List the shipments of an order, oldest first"""
    found = shipping.list_shipments(services().orders, order_id)
    with reading(order_id):
        return answer({"shipments": [public.shipment(one.shipment, one.order) for one in found]})


@blueprint.get("/orders/<order_id>/shipments/<shipment_id>")
@blueprint.response(200, ShipmentOut, example=SHIPMENT_EXAMPLE)
@declares("orders:read", "not_found", "order_unreadable")
def get_shipment(order_id: str, shipment_id: str) -> Response:
    """Get a shipment"""
    found = shipping.get_shipment(services().orders, order_id, shipment_id)
    with reading(order_id):
        return answer(public.shipment(found.shipment, found.order))


@blueprint.patch("/orders/<order_id>/shipments/<shipment_id>")
@blueprint.arguments(ShipmentPatch(), content_type=MERGE_PATCH, example=CORRECTION)
@blueprint.response(200, ShipmentOut, headers={**ETAG, **REPLAYED}, example=SHIPMENT_EXAMPLE)
@declares("orders:admin", "if_match_required", *_COMMAND, headers=_HEADERS)
def amend_shipment(patch: dict[str, Any], order_id: str, shipment_id: str) -> Response:
    """Correct the tracking of a shipment

    Changes the fields of the body (RFC 7396); `null` removes one. If nothing changes, there is no event. A
    shipment that is delivered or cancelled cannot change.
    """
    return _shown(shipping.correct_shipment(services().orders, order_id, shipment_id, patch, _request()))


@blueprint.post("/orders/<order_id>/shipments/<shipment_id>/deliver")
@blueprint.arguments(NoBodyIn(), required=False, example={})
@blueprint.response(200, ShipmentOut, headers={**ETAG, **REPLAYED}, example=SHIPMENT_EXAMPLE | _DELIVERED)
@declares("orders:admin", *_COMMAND, headers=_HEADERS)
def deliver_shipment(_: Any, order_id: str, shipment_id: str) -> Response:
    """Record the delivery of a shipment

    The order is `delivered` once nothing is open and all shipments are delivered.
    """
    return _shown(shipping.deliver_shipment(services().orders, order_id, shipment_id, _request()))


@blueprint.post("/orders/<order_id>/shipments/<shipment_id>/cancel")
@blueprint.arguments(NoBodyIn(), required=False, example={})
@blueprint.response(
    200, ShipmentOut, headers={**ETAG, **REPLAYED}, example=SHIPMENT_EXAMPLE | {"status": "cancelled"}
)
@declares("orders:admin", "pieces_returned", *_COMMAND, headers=_HEADERS)
def cancel_shipment(_: Any, order_id: str, shipment_id: str) -> Response:
    """Cancel a shipment

    Its pieces are open again. A `shipped` order is `confirmed` again.
    """
    return _shown(shipping.cancel_shipment(services().orders, order_id, shipment_id, _request()))


def _request() -> Request:
    """The caller's request. A POST never needs `If-Match`, since it replaces nothing."""
    return as_request([request.method, request.path, g.body])


def _shown(
    found: shipping.OrderShipment, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    with reading(found.order["id"]):
        shown = public.shipment(found.shipment, found.order)
    return answer(shown, status, {**headers_of(found.order, replayed=found.replayed), **(headers or {})})
