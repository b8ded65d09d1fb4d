"""The routes of an order's refunds."""

from typing import Any

from flask import Response, g

from app.http import headers
from app.http.answers import REPLAYED, answer, located, location
from app.http.authentication import require_json_accepted
from app.http.json_body import digest
from app.http.parsing import Blueprint
from app.http.request_context import caller, services
from app.http.route_metadata import declares
from app.orders import public
from app.orders import service as ordering
from app.orders.reading import reading
from app.refunds import service as refunding
from app.refunds.schemas import NEW_REFUND, REFUND_EXAMPLE, RefundIn, RefundOut, RefundsOut

blueprint = Blueprint("refunds", __name__, description="Refunds of orders.")
blueprint.before_request(require_json_accepted)


@blueprint.post("/orders/<order_id>/refunds")
@blueprint.arguments(RefundIn(), required=False, example=NEW_REFUND)
@blueprint.response(202, RefundOut, headers={**location("refund"), **REPLAYED}, example=REFUND_EXAMPLE)
@declares(
    "orders:admin",
    "bad_header",
    "not_found",
    "not_refundable",
    "refund_too_large",
    "nothing_to_refund",
    "too_many_refunds",
    "history_full",
    "idempotency_key_reused",
    "order_unreadable",
    headers=("Idempotency-Key",),
)
def create_refund(draft: Any, order_id: str) -> Response:
    """Create a refund

    Without `amount` it is for what its `products` cost, and for the shipping of the whole order with
    `shipping`. Without these it is for all captured money that is left. The amount is reserved at once; the
    money is returned in the background.
    """
    key = headers.idempotency_key(required=False)
    result = refunding.request_refund(
        services().orders, order_id, draft, actor=caller(), key=key, digest=digest(g.body) if key else ""
    )
    response_headers = located(result.refund["id"])
    if result.replayed:
        response_headers["Idempotent-Replayed"] = "true"
    return _shown(result, 202, response_headers)


@blueprint.get("/orders/<order_id>/refunds")
@blueprint.response(200, RefundsOut, example={"refunds": [REFUND_EXAMPLE]})
@declares("orders:read", "not_found", "order_unreadable")
def list_refunds(order_id: str) -> Response:
    """List the refunds of an order, oldest first"""
    order = ordering.get_order(services().orders, order_id)
    with reading(order_id):
        return answer({"refunds": public.refunds(order)})


@blueprint.get("/orders/<order_id>/refunds/<refund_id>")
@blueprint.response(200, RefundOut, example=REFUND_EXAMPLE)
@declares("orders:read", "not_found", "order_unreadable")
def get_refund(order_id: str, refund_id: str) -> Response:
    """Get a refund"""
    return _shown(refunding.get_refund(services().orders, order_id, refund_id))


@blueprint.post("/orders/<order_id>/refunds/<refund_id>/retry")
@blueprint.response(202, RefundOut, example=REFUND_EXAMPLE)
@declares(
    "orders:admin",
    "not_found",
    "refund_not_failed",
    "refund_too_large",
    "nothing_to_refund",
    "too_many_retries",
    "history_full",
    "invalid_input",
    "order_unreadable",
)
def retry_refund(order_id: str, refund_id: str) -> Response:
    """Retry a failed refund"""
    return _shown(refunding.retry_refund(services().orders, order_id, refund_id, actor=caller()), 202)


def _shown(
    result: refunding.OrderRefund, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    with reading(result.order["id"]):
        return answer(public.refund(result.refund, result.order), status, headers)
