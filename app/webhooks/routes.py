"""The routes of the endpoints that webhooks go to, and of what went there."""

from typing import Any

from flask import Response, request

from app.clock import to_text
from app.http.answers import answer, empty
from app.http.authentication import require_json_accepted
from app.http.paging import LIKE_AN_ORDER, after, listing
from app.http.parsing import Blueprint
from app.http.request_context import caller, may, require, services
from app.http.route_metadata import declares
from app.http.schemas import PageQuery
from app.orders.routes import NEXT
from app.webhooks import schemas as webhook_schemas
from app.webhooks import service as webhooks
from app.webhooks.model import FULL, IDS, Attempt, Delivery, Endpoint
from app.webhooks.schemas import DeliveriesQuery, EndpointChange, EndpointIn

# The wider one includes it, and is asked for where an endpoint is to get more than ids.
SCOPE, WIDER_SCOPE = "webhooks:ids", "webhooks:write"
CREATED = {
    "Location": {"schema": {"type": "string", "format": "uri-reference"}, "description": "The new endpoint."}
}
_LIKE_A_DELIVERY = r"[0-9a-f]{32}"

blueprint = Blueprint("webhooks", __name__, description="Where webhooks go, and what went there.")
blueprint.before_request(require_json_accepted)


@blueprint.post("/webhook-endpoints")
@blueprint.arguments(EndpointIn(), example=webhook_schemas.NEW_ENDPOINT)
@blueprint.response(
    201, webhook_schemas.EndpointWithSecret, headers=CREATED, example=webhook_schemas.WITH_SECRET
)
@declares(SCOPE, "too_many_endpoints")
def create_webhook_endpoint(wanted: dict[str, Any]) -> Response:
    """Create a webhook endpoint

    The secret that verifies its webhooks is in this answer alone. An endpoint that gets more than ids needs
    the scope `webhooks:write`.
    """
    payload = wanted.get("payload") or (FULL if may(WIDER_SCOPE) else IDS)
    if payload != IDS:
        require(WIDER_SCOPE)
    endpoint = webhooks.add_endpoint(
        services().webhooks, wanted["url"], wanted["events"], payload, owner=caller()
    )
    location = f"{request.script_root}{request.path.rstrip('/')}/{endpoint['id']}"
    return answer(_with_secret(endpoint), 201, {"Location": location})


@blueprint.get("/webhook-endpoints")
@blueprint.arguments(PageQuery(), location="query")
@blueprint.response(200, webhook_schemas.EndpointsOut, headers=NEXT, example=webhook_schemas.ENDPOINTS)
@declares(SCOPE, "bad_cursor")
def list_webhook_endpoints(query: dict[str, Any]) -> Response:
    """List webhook endpoints, newest first"""
    page = webhooks.list_endpoints(
        services().webhooks, query["limit"], after(query.get("cursor"), LIKE_AN_ORDER)
    )
    return listing("endpoints", [_endpoint(endpoint) for endpoint in page.items], page.next)


@blueprint.get("/webhook-endpoints/<endpoint_id>")
@blueprint.response(200, webhook_schemas.EndpointOut, example=webhook_schemas.ENDPOINT)
@declares(SCOPE, "not_found")
def get_webhook_endpoint(endpoint_id: str) -> Response:
    """Show a webhook endpoint"""
    return answer(_endpoint(webhooks.get_endpoint(services().webhooks, endpoint_id)))


@blueprint.patch("/webhook-endpoints/<endpoint_id>")
@blueprint.arguments(EndpointChange(), example={"enabled": False})
@blueprint.response(200, webhook_schemas.EndpointOut, example=webhook_schemas.ENDPOINT)
@declares(SCOPE, "not_found")
def update_webhook_endpoint(wanted: dict[str, Any], endpoint_id: str) -> Response:
    """Change a webhook endpoint, disable it or enable it

    What is pending when it is disabled fails, and can be replayed once it is enabled again.
    """
    return answer(_endpoint(webhooks.change_endpoint(services().webhooks, endpoint_id, wanted)))


@blueprint.delete("/webhook-endpoints/<endpoint_id>")
@blueprint.response(204)
@declares(SCOPE, "not_found")
def delete_webhook_endpoint(endpoint_id: str) -> Response:
    """Remove a webhook endpoint, with its deliveries"""
    webhooks.remove_endpoint(services().webhooks, endpoint_id)
    return empty(204)


@blueprint.post("/webhook-endpoints/<endpoint_id>/rotate-secret")
@blueprint.response(200, webhook_schemas.EndpointWithSecret, example=webhook_schemas.WITH_SECRET)
@declares(SCOPE, "not_found")
def rotate_webhook_secret(endpoint_id: str) -> Response:
    """Give a webhook endpoint a new secret; the old one signs along for 24 hours"""
    return answer(_with_secret(webhooks.rotate_secret(services().webhooks, endpoint_id)))


@blueprint.post("/webhook-endpoints/<endpoint_id>/test")
@blueprint.response(202, webhook_schemas.DeliveryOut, example=webhook_schemas.DELIVERY)
@declares(SCOPE, "not_found", "endpoint_disabled", "too_many_test_events")
def send_webhook_test_event(endpoint_id: str) -> Response:
    """Send a test event to a webhook endpoint

    Ten in a minute at most. The deliveries of the last ten are kept.
    """
    return answer(_delivery(webhooks.send_test_event(services().webhooks, endpoint_id)), 202)


@blueprint.get("/webhook-endpoints/<endpoint_id>/deliveries")
@blueprint.arguments(DeliveriesQuery(), location="query")
@blueprint.response(200, webhook_schemas.DeliveriesOut, headers=NEXT, example=webhook_schemas.DELIVERIES)
@declares(SCOPE, "not_found", "bad_cursor")
def list_webhook_deliveries(query: dict[str, Any], endpoint_id: str) -> Response:
    """List what goes or went to a webhook endpoint, newest first"""
    page = webhooks.list_deliveries(
        services().webhooks,
        endpoint_id,
        query.get("status"),
        query["limit"],
        after(query.get("cursor"), _LIKE_A_DELIVERY),
    )
    return listing("deliveries", [_delivery(delivery) for delivery in page.items], page.next)


@blueprint.get("/webhook-endpoints/<endpoint_id>/deliveries/<delivery_id>")
@blueprint.response(200, webhook_schemas.DeliveryOut, example=webhook_schemas.DELIVERY)
@declares(SCOPE, "not_found")
def get_webhook_delivery(endpoint_id: str, delivery_id: str) -> Response:
    """Show a delivery with its attempts"""
    return answer(_delivery(webhooks.get_delivery(services().webhooks, endpoint_id, delivery_id)))


@blueprint.post("/webhook-endpoints/<endpoint_id>/deliveries/<delivery_id>/replay")
@blueprint.response(202, webhook_schemas.DeliveryOut, example=webhook_schemas.DELIVERY)
@declares(SCOPE, "not_found", "endpoint_disabled")
def replay_webhook_delivery(endpoint_id: str, delivery_id: str) -> Response:
    """Send a delivery again, whatever became of it

    With the same `webhook-id`, and the whole schedule of retries before it.
    """
    return answer(_delivery(webhooks.replay(services().webhooks, endpoint_id, delivery_id)), 202)


def _endpoint(found: Endpoint) -> dict[str, Any]:
    shown: dict[str, Any] = {name: found[name] for name in ("id", "url", "events", "enabled")}
    if "disabledReason" in found:
        shown["disabledReason"] = found["disabledReason"]
    shown["payload"] = found.get("payload", FULL)
    return {**shown, "createdAt": to_text(found["createdAt"]), "updatedAt": to_text(found["updatedAt"])}


def _with_secret(found: Endpoint) -> dict[str, Any]:
    return {**_endpoint(found), "secret": found["secrets"][0]["secret"]}


def _delivery(found: Delivery) -> dict[str, Any]:
    names = ("id", "endpointId", "type", "orderId", "sequence", "status", "reason")
    shown: dict[str, Any] = {name: found[name] for name in names if name in found}  # type: ignore[literal-required]
    shown["at"] = to_text(found["at"])
    shown["attempts"] = [_attempt(attempt) for attempt in found["attempts"]]
    # While somebody is trying, the time stands for the end of that.
    if "dueBy" in found and "claim" not in found:
        shown["nextAttemptAt"] = to_text(found["dueBy"])
    return shown


def _attempt(found: Attempt) -> dict[str, Any]:
    return {**found, "at": to_text(found["at"])}
