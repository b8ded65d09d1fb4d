"""The routes of webhook endpoints and their deliveries."""

from typing import Any

from flask import Response

from app.http.answers import NEXT, answer, empty, located, location
from app.http.authentication import require_json_accepted
from app.http.paging import LIKE_AN_ORDER, after, listing
from app.http.parsing import Blueprint
from app.http.request_context import caller, may, require, services
from app.http.route_metadata import declares
from app.http.schemas import PageQuery
from app.webhooks import schemas
from app.webhooks import service as webhooks
from app.webhooks.model import FULL, IDS, Delivery, Endpoint
from app.webhooks.schemas import (
    DeliveriesQuery,
    DeliveryOut,
    EndpointChange,
    EndpointIn,
    EndpointOut,
    EndpointWithSecret,
)

# The wider scope includes the other. An endpoint that receives full orders needs it.
SCOPE, WIDER_SCOPE = "webhooks:ids", "webhooks:write"
_LIKE_A_DELIVERY = r"[0-9a-f]{32}"

blueprint = Blueprint("webhooks", __name__, description="Webhook endpoints and their deliveries.")
blueprint.before_request(require_json_accepted)


@blueprint.post("/webhook-endpoints")
@blueprint.arguments(EndpointIn(), example=schemas.NEW_ENDPOINT)
@blueprint.response(201, EndpointWithSecret, headers=location("endpoint"), example=schemas.WITH_SECRET)
@declares(SCOPE, "too_many_endpoints")
def create_webhook_endpoint(wanted: dict[str, Any]) -> Response:
    """Create a webhook endpoint

    Only this answer has the secret that verifies its webhooks. An endpoint that receives full orders needs
    the scope `webhooks:write`.
    """
    payload = wanted.get("payload") or (FULL if may(WIDER_SCOPE) else IDS)
    if payload != IDS:
        require(WIDER_SCOPE)
    endpoint = webhooks.add_endpoint(
        services().webhooks, wanted["url"], wanted["events"], payload, owner=caller()
    )
    return answer(_with_secret(endpoint), 201, located(endpoint["id"]))


@blueprint.get("/webhook-endpoints")
@blueprint.arguments(PageQuery(), location="query")
@blueprint.response(200, schemas.EndpointsOut, headers=NEXT, example=schemas.ENDPOINTS)
@declares(SCOPE, "bad_cursor")
def list_webhook_endpoints(query: dict[str, Any]) -> Response:
    """List webhook endpoints, newest first"""
    page = webhooks.list_endpoints(
        services().webhooks, query["limit"], after(query.get("cursor"), LIKE_AN_ORDER)
    )
    return listing("endpoints", [_endpoint(endpoint) for endpoint in page.items], page.next)


@blueprint.get("/webhook-endpoints/<endpoint_id>")
@blueprint.response(200, EndpointOut, example=schemas.ENDPOINT)
@declares(SCOPE, "not_found")
def get_webhook_endpoint(endpoint_id: str) -> Response:
    """Get a webhook endpoint"""
    return answer(_endpoint(webhooks.get_endpoint(services().webhooks, endpoint_id)))


@blueprint.patch("/webhook-endpoints/<endpoint_id>")
@blueprint.arguments(EndpointChange(), example={"enabled": False})
@blueprint.response(200, EndpointOut, example=schemas.ENDPOINT)
@declares(SCOPE, "not_found")
def update_webhook_endpoint(wanted: dict[str, Any], endpoint_id: str) -> Response:
    """Update a webhook endpoint

    If it is disabled, its pending deliveries fail. They can be replayed once it is enabled again.
    """
    return answer(_endpoint(webhooks.change_endpoint(services().webhooks, endpoint_id, wanted)))


@blueprint.delete("/webhook-endpoints/<endpoint_id>")
@blueprint.response(204)
@declares(SCOPE, "not_found")
def delete_webhook_endpoint(endpoint_id: str) -> Response:
    """Delete a webhook endpoint and its deliveries"""
    webhooks.remove_endpoint(services().webhooks, endpoint_id)
    return empty(204)


@blueprint.post("/webhook-endpoints/<endpoint_id>/rotate-secret")
@blueprint.response(200, EndpointWithSecret, example=schemas.WITH_SECRET)
@declares(SCOPE, "not_found")
def rotate_webhook_secret(endpoint_id: str) -> Response:
    """Rotate the secret of a webhook endpoint

    For 24 hours, webhooks are signed with both the new and the old secret.
    """
    return answer(_with_secret(webhooks.rotate_secret(services().webhooks, endpoint_id)))


@blueprint.post("/webhook-endpoints/<endpoint_id>/test")
@blueprint.response(202, DeliveryOut, example=schemas.DELIVERY)
@declares(SCOPE, "not_found", "endpoint_disabled", "too_many_test_events")
def send_webhook_test_event(endpoint_id: str) -> Response:
    """Send a test event to a webhook endpoint

    At most ten in a minute. The deliveries of the last ten test events are kept.
    """
    return answer(_delivery(webhooks.send_test_event(services().webhooks, endpoint_id)), 202)


@blueprint.get("/webhook-endpoints/<endpoint_id>/deliveries")
@blueprint.arguments(DeliveriesQuery(), location="query")
@blueprint.response(200, schemas.DeliveriesOut, headers=NEXT, example=schemas.DELIVERIES)
@declares(SCOPE, "not_found", "bad_cursor")
def list_webhook_deliveries(query: dict[str, Any], endpoint_id: str) -> Response:
    """List the deliveries of a webhook endpoint, newest first"""
    page = webhooks.list_deliveries(
        services().webhooks,
        endpoint_id,
        query.get("status"),
        query["limit"],
        after(query.get("cursor"), _LIKE_A_DELIVERY),
    )
    return listing("deliveries", [_delivery(delivery) for delivery in page.items], page.next)


@blueprint.get("/webhook-endpoints/<endpoint_id>/deliveries/<delivery_id>")
@blueprint.response(200, DeliveryOut, example=schemas.DELIVERY)
@declares(SCOPE, "not_found")
def get_webhook_delivery(endpoint_id: str, delivery_id: str) -> Response:
    """Get a delivery and its attempts"""
    return answer(_delivery(webhooks.get_delivery(services().webhooks, endpoint_id, delivery_id)))


@blueprint.post("/webhook-endpoints/<endpoint_id>/deliveries/<delivery_id>/replay")
@blueprint.response(202, DeliveryOut, example=schemas.DELIVERY)
@declares(SCOPE, "not_found", "endpoint_disabled")
def replay_webhook_delivery(endpoint_id: str, delivery_id: str) -> Response:
    """Replay a delivery

    It is sent again in any status, with the same `webhook-id` and the full schedule of retries.
    """
    return answer(_delivery(webhooks.replay(services().webhooks, endpoint_id, delivery_id)), 202)


def _endpoint(found: Endpoint) -> dict[str, Any]:
    return EndpointOut.of({"payload": FULL, **found})


def _with_secret(found: Endpoint) -> dict[str, Any]:
    return EndpointWithSecret.of({"payload": FULL, **found, "secret": found["secrets"][0]["secret"]})


def _delivery(found: Delivery) -> dict[str, Any]:
    # During an attempt, `dueBy` is the deadline of the attempt.
    is_waiting = "dueBy" in found and "claim" not in found
    return DeliveryOut.of({**found, "nextAttemptAt": found["dueBy"]} if is_waiting else found)
