"""The routes of the holds of an order."""

from typing import Any

from flask import Response, g, request

from app.holds import service as holding
from app.http import examples
from app.http.answers import REPLAYED, answer
from app.http.authentication import require_json_accepted
from app.http.parsing import Blueprint
from app.http.request_context import services
from app.http.route_metadata import declares
from app.orders import public
from app.orders.command_requests import as_request, headers_of
from app.orders.commands import Request
from app.orders.reading import reading
from app.orders.routes import ETAG
from app.orders.schemas import HOLD_EXAMPLE, NEW_HOLD, Hold, HoldIn, Order, ReleaseIn

blueprint = Blueprint("holds", __name__, description="Holds of orders.")
blueprint.before_request(require_json_accepted)

_COMMON = (
    "bad_header",
    "not_found",
    "history_full",
    "idempotency_key_reused",
    "stale_version",
    "order_unreadable",
)
_HEADERS = ("Idempotency-Key", "If-Match")


@blueprint.post("/orders/<order_id>/holds")
@blueprint.arguments(HoldIn(), example=NEW_HOLD)
@blueprint.response(201, Hold, headers={**ETAG, **REPLAYED}, example=HOLD_EXAMPLE)
@blueprint.alt_response(200, schema=Hold, headers=ETAG, example=HOLD_EXAMPLE)
@declares("orders:admin", "nothing_to_hold", "too_many_holds", *_COMMON, headers=_HEADERS)
def create_hold(draft: dict[str, Any], order_id: str) -> Response:
    """Place a hold on an order

    If the order has a hold with this `code`, the answer is 200 with that hold as it stands. Authorization and
    stock go on. A held order does not expire.
    """
    placed = holding.place_hold(services().orders, order_id, draft, _request(g.body))
    with reading(order_id):
        shown = public.hold(placed.hold)
    return answer(shown, 201 if placed.is_new else 200, headers_of(placed.order, replayed=placed.replayed))


@blueprint.post("/orders/<order_id>/holds/<hold_code>/release")
@blueprint.arguments(ReleaseIn(), required=False, example={"reason": "The customer confirmed the address"})
@blueprint.response(200, Order, headers={**ETAG, **REPLAYED}, example=examples.ORDER)
@declares("orders:admin", *_COMMON, headers=_HEADERS)
def release_hold(draft: dict[str, Any], order_id: str, hold_code: str) -> Response:
    """Release a hold"""
    return _released(order_id, hold_code, draft.get("reason"), g.body)


@blueprint.delete("/orders/<order_id>/holds/<hold_code>")
@blueprint.response(200, Order, headers={**ETAG, **REPLAYED}, example=examples.ORDER)
@declares("orders:admin", *_COMMON, "if_match_required", headers=_HEADERS)
def delete_hold(order_id: str, hold_code: str) -> Response:
    """Release a hold without a reason"""
    return _released(order_id, hold_code, None, None)


def _released(order_id: str, code: str, reason: str | None, body: Any) -> Response:
    order, replayed = holding.release_hold(services().orders, order_id, code, reason, _request(body))
    return answer(public.order(order, for_shop=True), headers=headers_of(order, replayed=replayed))


def _request(body: Any) -> Request:
    return as_request([request.method, request.path, body])
