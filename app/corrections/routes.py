"""The routes of corrections: amend an order."""

from typing import Any

from flask import Response, g

from app.corrections import service as correcting
from app.corrections.schemas import MERGE_PATCH, PATCH, OrderPatch
from app.http import examples, headers
from app.http.answers import REPLAYED, answer, entity_tag
from app.http.authentication import require_json_accepted
from app.http.json_body import digest
from app.http.parsing import Blueprint
from app.http.request_context import caller, may, require_own_email, services
from app.http.route_metadata import declares
from app.orders import public, schemas
from app.orders.commands import Carried, Request
from app.orders.routes import ETAG

blueprint = Blueprint("corrections", __name__, description="Corrections of orders.")
blueprint.before_request(require_json_accepted)

_COMMAND = (
    "bad_header",
    "not_found",
    "history_full",
    "stale_version",
    "idempotency_key_reused",
    "order_unreadable",
)
_HEADERS = ("If-Match", "Idempotency-Key")


@blueprint.patch("/orders/<order_id>")
@blueprint.arguments(OrderPatch(), content_type=MERGE_PATCH, example=PATCH)
@blueprint.response(200, schemas.Order, headers={**ETAG, **REPLAYED}, example=examples.ORDER | {"version": 2})
@declares("orders:write", *_COMMAND, "already_shipped", "if_match_required", headers=_HEADERS)
def amend_order(patch: Any, order_id: str) -> Response:
    """Correct an order

    Changes the fields of the body (RFC 7396); `null` removes one. The delivery address can be changed until
    the first shipment. After it, customers can change nothing. If nothing changes, there is no event.
    """
    require_own_email(patch.get("email"))
    carried = correcting.amend(
        services().orders,
        order_id,
        patch,
        _request("amend", g.body, required=services().settings.require_if_match),
        by_shop=may("orders:admin"),
    )
    return _order(carried)


def _request(command: str, body: Any, *, required: bool) -> Request:
    """The caller's request. `required` says whether it needs `If-Match`."""
    key = headers.idempotency_key(required=False)
    known = digest([command, body]) if key else ""
    return Request(caller(), key, known, headers.if_match(required=required))


def _order(carried: Carried) -> Response:
    shown = public.order(carried.order, for_shop=may("orders:admin"))
    return answer(shown, headers=_headers(carried))


def _headers(carried: Carried) -> dict[str, str]:
    tag = {"ETag": entity_tag(carried.order["version"])}
    return tag | ({"Idempotent-Replayed": "true"} if carried.replayed else {})
