"""The routes of orders."""

from typing import Any

import orjson
import structlog
from flask import Response, current_app, g

from app.clock import from_millis, to_millis
from app.errors import Fault, OrderUnreadable, QuoteRequired
from app.http import examples, headers
from app.http.answers import NEXT, REPLAYED, answer, empty, entity_tag, located, location
from app.http.authentication import require_json_accepted
from app.http.json_body import digest
from app.http.paging import LIKE_A_CHANGED_ORDER, LIKE_AN_ORDER, after, fitting, listing
from app.http.parsing import Blueprint
from app.http.request_context import (
    caller,
    may,
    may_set_prices,
    origin,
    require,
    require_own,
    require_own_email,
    services,
)
from app.http.route_metadata import declares
from app.http.shares import waiting
from app.orders import public, schemas
from app.orders import service as ordering
from app.orders.listing import is_by_update, order_query
from app.orders.model import Order
from app.orders.quotes import claims_in, priced
from app.orders.reading import reading
from app.orders.schemas import OrderIn, OrdersQuery, StatusChange, VersionQuery
from app.orders.states import OF_THE_SHOP

ETAG = {
    "ETag": {
        "schema": {"type": "string", "pattern": '^"v[0-9]+"$'},
        "description": "The version of the order.",
    }
}
CREATED = {
    **ETAG,
    **location("order"),
    **REPLAYED,
    "Preference-Applied": {"schema": {"type": "string"}, "description": "The wait that the service granted."},
}

blueprint = Blueprint("orders", __name__, description="Orders and their events.")
blueprint.before_request(require_json_accepted)


@blueprint.post("/orders")
@blueprint.arguments(OrderIn(), example=examples.NEW_ORDER)
@blueprint.response(201, schemas.OrderAnswer, headers=CREATED, example=examples.CREATED)
@declares(
    "orders:write",
    "bad_header",
    "idempotency_key_required",
    "idempotency_key_reused",
    "quote_required",
    "quote_invalid",
    "quote_expired",
    "quote_used",
    "quote_differs",
    "order_unreadable",
    headers=("Idempotency-Key", "Prefer"),
)
def create_order(draft: Any) -> Response:
    """Create an order

    The answer comes once the order is durable. Payment and stock follow; `Prefer: wait` waits for them.
    """
    require_own(draft["userId"])
    key = headers.idempotency_key(required=services().settings.require_idempotency_key)
    require_own_email(draft.get("email"))
    if "holds" in draft:
        require("orders:admin")
    with waiting(headers.wait()) as seconds:
        placed = _placed(draft, key, waits=seconds is not None)
        structlog.contextvars.bind_contextvars(order_id=placed.order["id"])
        order = ordering.first_answer(services().orders, placed, seconds)
    response_headers = located(order["id"])
    if placed.replayed:
        response_headers["Idempotent-Replayed"] = "true"
    if seconds is not None:
        response_headers["Preference-Applied"] = f"wait={seconds}"
    return _changed("Order created successfully", order, 201, response_headers)


@blueprint.get("/orders")
@blueprint.arguments(OrdersQuery(), location="query")
@blueprint.response(200, schemas.Orders, headers=NEXT, example=examples.PAGE)
@declares("orders:read", "bad_cursor", "mistyped_number")
def list_orders(query: dict[str, Any]) -> Response:
    """List orders, newest first

    A page has at most 1 MiB, so it may have fewer orders than `limit`. `unreadable` lists the orders of the
    page that are damaged. `tag`, `held` and `overdue` need the scope `orders:admin`.
    """
    if not query.keys().isdisjoint(("tag", "held", "overdue")):
        require("orders:admin")
    by_update = is_by_update(query)
    last = after(query.get("cursor"), LIKE_A_CHANGED_ORDER if by_update else LIKE_AN_ORDER)
    last_id, _, changed = (last or "").partition("@")
    found = ordering.list_orders(
        services().orders,
        order_query(query, services().clock())._replace(
            after=last_id or None, after_update=from_millis(int(changed)) if changed else None
        ),
    )
    for_shop = may("orders:admin")
    shown = ((_place(order, by_update), _text(order, for_shop=for_shop)) for order in found)
    page, has_more = fitting(shown, query["limit"])
    unreadable = [place.partition("@")[0] for place, text in page if not text]
    return listing(
        "orders",
        [orjson.Fragment(text) for _, text in page if text],
        page[-1][0] if has_more else None,
        **({"unreadable": unreadable} if unreadable else {}),
    )


@blueprint.get("/orders/<order_id>")
@blueprint.arguments(VersionQuery(), location="query")
@blueprint.response(200, schemas.Order, headers=ETAG, example=examples.ORDER)
@declares("orders:read", "not_found", "order_unreadable", headers=("If-None-Match",))
def get_order(query: dict[str, Any], order_id: str) -> Response:
    """Get an order

    `version` gets it as it was at that version.
    """
    if "version" in query:
        order = ordering.order_at_version(services().orders, order_id, int(query["version"]))
    else:
        order = ordering.get_order(services().orders, order_id)
    with reading(order["id"]):
        version = order["version"]
    tag = {"ETag": entity_tag(version)}
    if headers.is_known(version):
        return empty(304, tag)
    return answer(public.order(order, for_shop=may("orders:admin")), headers=tag)


@blueprint.put("/orders/<order_id>")
@blueprint.arguments(StatusChange(), example=examples.SHIPMENT)
@blueprint.response(200, schemas.OrderAnswer, headers=ETAG, example=examples.UPDATED)
@declares(
    "orders:write",
    "bad_header",
    "not_found",
    "illegal_transition",
    "partly_shipped",
    "too_many_shipments",
    "on_hold",
    "history_full",
    "stale_version",
    "if_match_required",
    "order_unreadable",
    headers=("If-Match",),
)
def update_order(wanted: dict[str, Any], order_id: str) -> Response:
    """Update the status of an order

    Ships, delivers or cancels it. If the order has that status already, nothing changes. `shipped` ships
    all open pieces, and `delivered` delivers all shipments; both need the scope `orders:admin`. Cancelling
    returns the money and the stock.
    """
    if wanted["status"] in OF_THE_SHOP:
        require("orders:admin")
    order = ordering.change_status(
        services().orders,
        order_id,
        wanted["status"],
        actor=caller(),
        tracking=wanted.get("tracking"),
        detail=wanted.get("reason"),
        if_match=_versions_to_match(),
    )
    return _changed("Order updated successfully", order)


@blueprint.delete("/orders/<order_id>")
@blueprint.response(204)
@declares(
    "orders:write",
    "bad_header",
    "not_found",
    "order_in_transit",
    "return_open",
    "history_full",
    "stale_version",
    "if_match_required",
    "order_unreadable",
    headers=("If-Match",),
)
def delete_order(order_id: str) -> Response:
    """Delete an order

    A `pending` or `confirmed` order is cancelled first.
    """
    ordering.delete_order(services().orders, order_id, actor=caller(), if_match=_versions_to_match())
    return empty(204)


@blueprint.get("/orders/<order_id>/events")
@blueprint.response(200, schemas.Events, example=examples.EVENTS)
@declares("orders:read", "not_found", "order_unreadable")
def list_order_events(order_id: str) -> Response:
    """List the events of an order"""
    order = ordering.history(services().orders, order_id)
    with reading(order_id):
        for_shop = may("orders:admin")
        shown = [public.event(event, order, for_shop=for_shop) for event in order["events"]]
        return answer({"events": shown})


@blueprint.get("/orders/<order_id>/events/verify")
@blueprint.response(200, schemas.Verification, example=examples.VERIFICATION)
@declares("orders:read", "not_found", "order_unreadable")
def verify_order_events(order_id: str) -> Response:
    """Verify that the events of an order are unchanged"""
    bad = ordering.verify(services().orders, order_id)
    return answer({"intact": True} if bad is None else {"intact": False, "firstBadSequence": bad})


def _placed(draft: Any, key: str | None, *, waits: bool) -> ordering.Placed:
    """The order of a POST, with the prices of its quote if it needs or has one."""
    orders, body, quote = services().orders, digest(g.body) if key else "", None
    if "quote" in draft or not may_set_prices():
        # A repetition gets its answer again, even if the quote has expired since, or is used.
        if replay := ordering.replayed(orders, caller(), key, body):
            return replay
        if "quote" not in draft:
            raise QuoteRequired(Fault("/quote", "is required"))
        claims = claims_in(draft["quote"], current_app.extensions["claims_of_quote"])
        draft, quote = priced(draft, claims, services().settings.jwt_leeway)
    return ordering.place_order(
        orders, draft, actor=caller(), key=key, digest=body, waits=waits, origin=origin(), quote=quote
    )


def _place(order: Order, by_update: bool) -> str:
    """The place of the order in the list, which the cursor holds."""
    return f"{order['id']}@{to_millis(order['updatedAt'])}" if by_update else order["id"]


def _text(order: Order, *, for_shop: bool) -> bytes:
    """The order as JSON; empty if it is damaged."""
    try:
        return public.order_text(order, for_shop=for_shop)
    except OrderUnreadable:
        return b""


def _changed(
    message: str, order: Order, status: int = 200, more_headers: dict[str, str] | None = None
) -> Response:
    body = {"message": message, "order": public.order(order, for_shop=may("orders:admin"))}
    return answer(body, status, {"ETag": entity_tag(order["version"]), **(more_headers or {})})


def _versions_to_match() -> frozenset[int] | None:
    return headers.if_match(required=services().settings.require_if_match)
