"""The operations of clients on webhook endpoints and their deliveries."""

import math
from collections.abc import Sequence
from typing import Any

from app.clock import new_id
from app.errors import EndpointDisabled, Fault, InvalidInput, NotFound, TooManyEndpoints, TooManyTestEvents
from app.orders.service import Page, page_of
from app.webhooks import WebhookServices
from app.webhooks.model import (
    FULL,
    MOST_TESTS,
    STATUSES,
    TEST,
    TEST_WINDOW,
    Delivery,
    Endpoint,
    Secret,
    SentTest,
    delivery_id,
    rotated,
)
from app.webhooks.sender import new_secret

MOST_ENDPOINTS = 100


def add_endpoint(
    services: WebhookServices,
    url: str,
    events: Sequence[str],
    payload: str = FULL,
    *,
    owner: str = "anonymous",
) -> Endpoint:
    """Creates an endpoint of the owner, for events from now on. Its `payload` cannot change later.

    Raises InvalidInput for a URL to which webhooks cannot be sent, TooManyEndpoints.
    """
    _require_reachable(services, url)
    now = services.clock()
    endpoint = Endpoint(
        id=new_id(now),
        url=url,
        events=list(dict.fromkeys(events)),
        enabled=True,
        secrets=[Secret(secret=new_secret())],
        createdAt=now,
        updatedAt=now,
        owner=owner,
        payload=payload,
    )
    if not services.endpoints.add(endpoint, MOST_ENDPOINTS):
        raise TooManyEndpoints(f"There can be at most {MOST_ENDPOINTS} webhook endpoints.")
    return endpoint


def list_endpoints(services: WebhookServices, limit: int, after: str | None) -> Page:
    """A page of the endpoints, newest first."""
    return page_of(services.endpoints.page(after, limit), limit, "id")


def get_endpoint(services: WebhookServices, endpoint_id: str) -> Endpoint:
    """The endpoint. Raises NotFound."""
    return _found(services.endpoints.get(endpoint_id))


def change_endpoint(services: WebhookServices, endpoint_id: str, wanted: dict[str, Any]) -> Endpoint:
    """Changes the endpoint's `url`, `events` or `enabled`, and returns it.

    Disabling an endpoint fails its pending deliveries. They can be replayed once it is enabled again.
    Raises NotFound, and InvalidInput for a URL to which webhooks cannot be sent.
    """
    get_endpoint(services, endpoint_id)
    if "url" in wanted:
        _require_reachable(services, wanted["url"])
    fields = wanted if wanted.get("enabled", True) else {**wanted, "disabledReason": "requested"}
    now = services.clock()
    endpoint = _found(services.endpoints.change(endpoint_id, fields, now))
    if not endpoint["enabled"]:
        services.deliveries.give_up(endpoint["id"], now, "endpoint_disabled")
    return endpoint


def remove_endpoint(services: WebhookServices, endpoint_id: str) -> None:
    """Removes the endpoint and its deliveries. Raises NotFound."""
    if not services.endpoints.remove(endpoint_id):
        raise _no_endpoint()
    # Another process may still record a delivery for this endpoint. The sender removes it later.
    services.deliveries.forget(endpoint_id.lower())


def rotate_secret(services: WebhookServices, endpoint_id: str) -> Endpoint:
    """Gives the endpoint a new secret. The old secret also signs for another day. Raises NotFound."""
    while True:
        endpoint, now = get_endpoint(services, endpoint_id), services.clock()
        secrets = rotated(endpoint["secrets"], new_secret(), now)
        if changed := services.endpoints.replace_secrets(endpoint, secrets, now):
            return changed


def send_test_event(services: WebhookServices, endpoint_id: str) -> Delivery:
    """Records the delivery of a test event. If there are MOST_TESTS records, the oldest is removed.

    Raises NotFound, EndpointDisabled, TooManyTestEvents.
    """
    endpoint, now = _enabled(services, endpoint_id), services.clock()
    delivery = Delivery(
        id=delivery_id(new_id(now), 0, endpoint["id"], now),
        endpointId=endpoint["id"],
        type=TEST,
        at=now,
        status="pending",
        attempts=[],
        failures=0,
        dueBy=now,
    )
    before = services.endpoints.note_test(endpoint, SentTest(id=delivery["id"], at=now))
    if before is None:
        oldest = get_endpoint(services, endpoint_id)["tests"][-1]["at"]
        raise TooManyTestEvents(math.ceil((oldest + TEST_WINDOW - now).total_seconds()) or 1)
    services.deliveries.record([delivery])
    for oldest_test in before.get("tests", [])[MOST_TESTS - 1 :]:
        services.deliveries.remove(endpoint["id"], oldest_test["id"])
    return delivery


def list_deliveries(
    services: WebhookServices, endpoint_id: str, status: str | None, limit: int, after: str | None
) -> Page:
    """A page of the endpoint's deliveries, newest first. Raises NotFound."""
    endpoint = get_endpoint(services, endpoint_id)
    statuses = [status] if status else STATUSES
    return page_of(services.deliveries.page(endpoint["id"], statuses, after, limit), limit, "id")


def get_delivery(services: WebhookServices, endpoint_id: str, delivery_id: str) -> Delivery:
    """One delivery of the endpoint. Raises NotFound."""
    return _found_delivery(services.deliveries.get(get_endpoint(services, endpoint_id)["id"], delivery_id))


def replay(services: WebhookServices, endpoint_id: str, delivery_id: str) -> Delivery:
    """Makes a delivery due now, in any status, and restarts its retry schedule.

    Raises NotFound, EndpointDisabled.
    """
    endpoint = _enabled(services, endpoint_id)
    return _found_delivery(services.deliveries.send_again(endpoint["id"], delivery_id, services.clock()))


def _require_reachable(services: WebhookServices, url: str) -> None:
    if fault := services.sender.fault_of(url):
        raise InvalidInput(Fault("/url", fault))


def _enabled(services: WebhookServices, endpoint_id: str) -> Endpoint:
    endpoint = get_endpoint(services, endpoint_id)
    if not endpoint["enabled"]:
        raise EndpointDisabled("The webhook endpoint is disabled. Enable it first.")
    return endpoint


def _found(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise _no_endpoint()
    return endpoint


def _found_delivery(delivery: Delivery | None) -> Delivery:
    if delivery is None:
        raise NotFound("The delivery does not exist.")
    return delivery


def _no_endpoint() -> NotFound:
    return NotFound("The webhook endpoint does not exist.")
