"""The routes of an order's returns."""

from typing import Any

from flask import Response, g, request

from app.http.answers import REPLAYED, answer, located, location
from app.http.authentication import require_json_accepted
from app.http.parsing import Blueprint
from app.http.request_context import may, require, services
from app.http.route_metadata import declares
from app.orders import public
from app.orders import service as ordering
from app.orders.command_requests import as_request, headers_of
from app.orders.commands import Request
from app.orders.reading import reading
from app.orders.routes import ETAG
from app.returns import service as returning
from app.returns.schemas import (
    NEW_RETURN,
    RECEIPT,
    RECEIVED_EXAMPLE,
    REJECTION,
    RETURN_EXAMPLE,
    ApprovalIn,
    ReceiptIn,
    RejectionIn,
    ReturnIn,
    ReturnOut,
    ReturnsOut,
)

blueprint = Blueprint("returns", __name__, description="Returns of shipped pieces.")
blueprint.before_request(require_json_accepted)

_COMMAND = (
    "bad_header",
    "not_found",
    "history_full",
    "stale_version",
    "idempotency_key_reused",
    "order_unreadable",
)
_CHANGE = (*_COMMAND, "illegal_transition")
_REFUNDING = (*_CHANGE, "refund_too_large", "too_many_refunds")
_HEADERS = ("If-Match", "Idempotency-Key")


@blueprint.post("/orders/<order_id>/returns")
@blueprint.arguments(ReturnIn(), example=NEW_RETURN)
@blueprint.response(
    201, ReturnOut, headers={**ETAG, **location("return"), **REPLAYED}, example=RETURN_EXAMPLE
)
@declares(
    "orders:write",
    *_COMMAND,
    "nothing_returnable",
    "not_delivered",
    "too_late",
    "too_many_returns",
    headers=_HEADERS,
)
def create_return(draft: dict[str, Any], order_id: str) -> Response:
    """Announce a return

    The pieces are reserved for it. Customers can return delivered pieces within the return window. The shop
    can return any shipped piece, and says with `refund` when the money is given back.
    """
    if "refund" in draft:
        require("orders:admin")
    window = None if may("orders:admin") else services().settings.return_window
    made = returning.announce_return(services().orders, order_id, draft, _request(g.body), window=window)
    return _shown(made, 201, located(made.found["id"]))


@blueprint.get("/orders/<order_id>/returns")
@blueprint.response(200, ReturnsOut, example={"returns": [RETURN_EXAMPLE]})
@declares("orders:read", "not_found", "order_unreadable")
def list_returns(order_id: str) -> Response:
    """List the returns of an order, oldest first"""
    order = ordering.get_order(services().orders, order_id)
    with reading(order_id):
        return answer({"returns": [public.returned(one, order) for one in order.get("returns", ())]})


@blueprint.get("/orders/<order_id>/returns/<return_id>")
@blueprint.response(200, ReturnOut, example=RETURN_EXAMPLE)
@declares("orders:read", "not_found", "order_unreadable")
def get_return(order_id: str, return_id: str) -> Response:
    """Get a return"""
    found = returning.get_return(services().orders, order_id, return_id)
    with reading(order_id):
        return answer(public.returned(found.found, found.order))


@blueprint.post("/orders/<order_id>/returns/<return_id>/approve")
@blueprint.arguments(ApprovalIn(), required=False, example={})
@blueprint.response(
    200, ReturnOut, headers={**ETAG, **REPLAYED}, example=RETURN_EXAMPLE | {"status": "approved"}
)
@declares("orders:admin", *_REFUNDING, headers=_HEADERS)
def approve_return(draft: dict[str, Any], order_id: str, return_id: str) -> Response:
    """Approve a return

    If its `refund` is `on_approval`, the money of the announced pieces is given back.
    """
    amount = draft.get("amount")
    return _shown(returning.approve_return(services().orders, order_id, return_id, amount, _request(g.body)))


@blueprint.post("/orders/<order_id>/returns/<return_id>/reject")
@blueprint.arguments(RejectionIn(), example=REJECTION)
@blueprint.response(
    200,
    ReturnOut,
    headers={**ETAG, **REPLAYED},
    example=RETURN_EXAMPLE | {"status": "rejected", "rejection": REJECTION},
)
@declares("orders:admin", *_CHANGE, headers=_HEADERS)
def reject_return(draft: dict[str, str], order_id: str, return_id: str) -> Response:
    """Reject a return"""
    return _ended(order_id, return_id, "rejected", g.body, draft["reason"])


@blueprint.post("/orders/<order_id>/returns/<return_id>/cancel")
@blueprint.response(
    200, ReturnOut, headers={**ETAG, **REPLAYED}, example=RETURN_EXAMPLE | {"status": "cancelled"}
)
@declares("orders:write", *_CHANGE, headers=_HEADERS)
def cancel_return(order_id: str, return_id: str) -> Response:
    """Cancel a return

    Once something was received or refunded, it can only be closed.
    """
    return _ended(order_id, return_id, "cancelled")


@blueprint.post("/orders/<order_id>/returns/<return_id>/receive")
@blueprint.arguments(ReceiptIn(), example=RECEIPT)
@blueprint.response(200, ReturnOut, headers={**ETAG, **REPLAYED}, example=RECEIVED_EXAMPLE)
@declares("orders:admin", *_REFUNDING, "nothing_returnable", "too_many_returns", headers=_HEADERS)
def receive_return(draft: dict[str, Any], order_id: str, return_id: str) -> Response:
    """Receive a parcel of a return

    Resellable pieces go back into the stock. The return closes by itself once all that it announces is there.
    """
    return _shown(returning.receive_return(services().orders, order_id, return_id, draft, _request(g.body)))


@blueprint.post("/orders/<order_id>/returns/<return_id>/close")
@blueprint.response(200, ReturnOut, headers={**ETAG, **REPLAYED}, example=RECEIVED_EXAMPLE)
@declares("orders:admin", *_CHANGE, headers=_HEADERS)
def close_return(order_id: str, return_id: str) -> Response:
    """Close a return

    Pieces that did not come can be announced again.
    """
    return _ended(order_id, return_id, "closed")


def _ended(
    order_id: str, return_id: str, status: str, body: Any = None, reason: str | None = None
) -> Response:
    return _shown(
        returning.end_return(services().orders, order_id, return_id, status, _request(body), reason)
    )


def _request(body: Any) -> Request:
    """The caller's request. A POST never needs `If-Match`, since it replaces nothing."""
    return as_request([request.method, request.path, body])


def _shown(
    result: returning.OrderReturn, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    with reading(result.order["id"]):
        shown = public.returned(result.found, result.order)
    return answer(shown, status, {**headers_of(result.order, replayed=result.replayed), **(headers or {})})
