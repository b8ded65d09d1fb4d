"""The routes of the part cancellations of an order."""

from typing import Any

from flask import Response, g, request

from app.cancellations import service as cancelling
from app.cancellations.schemas import (
    CANCELLATION_EXAMPLE,
    NEW_CANCELLATION,
    CancellationIn,
    CancellationOut,
    CancellationsOut,
)
from app.errors import NotAllowed
from app.http.answers import REPLAYED, answer, located, location
from app.http.authentication import require_json_accepted
from app.http.parsing import Blueprint
from app.http.request_context import may_set_prices, services
from app.http.route_metadata import declares
from app.orders import public
from app.orders import service as ordering
from app.orders.command_requests import as_request, headers_of
from app.orders.reading import reading
from app.orders.routes import ETAG

blueprint = Blueprint("cancellations", __name__, description="Part cancellations of orders.")
blueprint.before_request(require_json_accepted)


@blueprint.post("/orders/<order_id>/cancellations")
@blueprint.arguments(CancellationIn(), example=NEW_CANCELLATION)
@blueprint.response(
    201,
    CancellationOut,
    headers={**ETAG, **location("part cancellation"), **REPLAYED},
    example=CANCELLATION_EXAMPLE,
)
@declares(
    "orders:write",
    "bad_header",
    "not_found",
    "nothing_open",
    "refund_too_large",
    "too_many_cancellations",
    "history_full",
    "stale_version",
    "idempotency_key_reused",
    "order_unreadable",
    headers=("Idempotency-Key", "If-Match"),
)
def create_cancellation(draft: Any, order_id: str) -> Response:
    """Cancel pieces of an order

    Takes pieces off that are neither shipped nor cancelled. Before the capture, less is captured; afterwards,
    what the pieces cost is refunded. The last pieces of an order without a shipment cancel the order. An
    `amount` needs the right to set prices.
    """
    if "amount" in draft and not may_set_prices():
        raise NotAllowed("orders:price")
    # A POST never needs `If-Match`, since it replaces nothing.
    asked = as_request([request.method, request.path, g.body])
    made = cancelling.create_cancellation(services().orders, order_id, draft, asked)
    headers = {**headers_of(made.order, replayed=made.replayed), **located(made.cancellation["id"])}
    return _shown(made, 201, headers)


@blueprint.get("/orders/<order_id>/cancellations")
@blueprint.response(200, CancellationsOut, example={"cancellations": [CANCELLATION_EXAMPLE]})
@declares("orders:read", "not_found", "order_unreadable")
def list_cancellations(order_id: str) -> Response:
    """List the part cancellations of an order, oldest first"""
    order = ordering.get_order(services().orders, order_id)
    with reading(order_id):
        found = order.get("cancellations", ())
        return answer({"cancellations": [public.cancellation(one, order) for one in found]})


@blueprint.get("/orders/<order_id>/cancellations/<cancellation_id>")
@blueprint.response(200, CancellationOut, example=CANCELLATION_EXAMPLE)
@declares("orders:read", "not_found", "order_unreadable")
def get_cancellation(order_id: str, cancellation_id: str) -> Response:
    """Get a part cancellation"""
    return _shown(cancelling.get_cancellation(services().orders, order_id, cancellation_id))


def _shown(
    found: cancelling.OrderCancellation, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    with reading(found.order["id"]):
        shown = public.cancellation(found.cancellation, found.order)
    return answer(shown, status, headers)
