"""Sends public events to endpoints: records each delivery under a unique key, then attempts it until it
succeeds."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from app.apart import apart
from app.clock import to_text
from app.errors import OrderUnreadable
from app.observability.tracing import about
from app.orders import public
from app.orders.history import as_of
from app.orders.log import Event
from app.orders.model import Order
from app.webhooks import WebhookServices
from app.webhooks.model import (
    FULL,
    IDS,
    Answer,
    Attempt,
    Delivery,
    Endpoint,
    delivery_id,
    kept_since,
    meaning,
    next_attempt,
    signing,
    wants,
)

log = structlog.get_logger()

# A claim lasts longer than any attempt. Afterwards another process can claim a dead process's delivery.
_CLAIM = timedelta(seconds=60)
_BATCH = 1_000
# The reasons why an order cannot be sent: it was purged, or its document is damaged, which can be repaired.
GONE, UNREADABLE = "order_gone", "order_unreadable"


def record_deliveries(services: WebhookServices, news: Sequence[tuple[Order, Event]]) -> list[str]:
    """Records the deliveries of these public events, and returns the ids of their endpoints."""
    endpoints = apart(services.endpoints.enabled(), _readable, _unreadable) if news else []
    deliveries = [
        Delivery(
            id=delivery_id(order["id"], event["sequence"], endpoint["id"], event["at"]),
            endpointId=endpoint["id"],
            orderId=order["id"],
            sequence=event["sequence"],
            type=event["type"],
            at=event["at"],
            status="pending",
            attempts=[],
            failures=0,
            dueBy=event["at"],
        )
        for endpoint in endpoints
        for order, event in news
        if wants(endpoint, event["type"], event["at"])
    ]
    services.deliveries.record(deliveries)
    return sorted({delivery["endpointId"] for delivery in deliveries})


def endpoints_due(services: WebhookServices) -> list[str]:
    """The ids of the endpoints with a due delivery."""
    now, found = services.clock(), list[str]()
    while endpoint_id := services.deliveries.due_endpoint(now, found[-1] if found else None):
        found.append(endpoint_id)
    return found


def purge_deliveries(services: WebhookServices) -> int:
    """Removes the deliveries that ended before the retention time, in batches, and returns their number."""
    limit, removed = kept_since(services.clock(), services.retention_days), 0
    while batch := services.deliveries.remove_ended(limit, _BATCH):
        removed += batch
    return removed


def deliver_next(services: WebhookServices, endpoint_id: str) -> bool | None:
    """Attempts the endpoint's delivery that is due longest. False if the endpoint did not accept it.

    None if no delivery is due. If the order cannot be sent, that is no failure of the endpoint, and this is
    True.
    """
    endpoint, now = services.endpoints.get(endpoint_id), services.clock()
    if endpoint is None:
        services.deliveries.forget(endpoint_id)
        return None
    if not endpoint["enabled"]:
        services.deliveries.give_up(endpoint_id, now, "endpoint_disabled")
        return None
    claimed = services.deliveries.claim(endpoint_id, now, now + _CLAIM)
    if claimed is None:
        return None
    order, fault = _order(services, claimed)
    with bound_contextvars(**(about(order) if order else {})):
        return _attempt(services, endpoint, claimed, order, fault)


def _readable(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The endpoints. Raises if one of them is damaged."""
    for endpoint in endpoints:
        wants(endpoint, "", endpoint["createdAt"])
    return list(endpoints)


def _unreadable(endpoint: Endpoint, error: Exception) -> None:
    log.error("webhook endpoint cannot be read", endpoint=endpoint["id"], exc_info=error)


def _attempt(
    services: WebhookServices, endpoint: Endpoint, claimed: Delivery, order: Order | None, fault: str | None
) -> bool:
    now, began = services.clock(), time.monotonic()
    answer = Answer(None, fault) if fault else _send(services, endpoint, claimed, order)
    seconds = time.monotonic() - began
    attempt = Attempt(at=now, milliseconds=round(seconds * 1000))
    if answer.status_code is not None:
        attempt["statusCode"] = answer.status_code
    else:
        attempt["error"] = answer.error
    if fault == GONE:
        services.deliveries.close(claimed, attempt, "failed", GONE)
        services.metrics.count("deliveries_total", "webhook", "failed")
        return True
    outcome = _note(services, endpoint, claimed, answer, attempt)
    services.metrics.time("webhook_duration_seconds", seconds=seconds)
    services.metrics.count("deliveries_total", "webhook", outcome)
    return outcome == "sent" or answer.error == UNREADABLE


def _order(services: WebhookServices, delivery: Delivery) -> tuple[Order | None, str | None]:
    """The order as of the event, or the reason why it cannot be sent. Both are None for a test event."""
    if "orderId" not in delivery:
        return None, None
    orders = services.orders.store.load_with_logs([delivery["orderId"]])
    try:
        return (as_of(orders[0], delivery["sequence"]), None) if orders else (None, GONE)
    except OrderUnreadable:
        return None, UNREADABLE


def _message(
    services: WebhookServices, endpoint: Endpoint, delivery: Delivery, order: Order | None
) -> dict[str, Any]:
    """The payload of the webhook. It has the order, or only the order's id if the endpoint may get no
    more."""
    event = {"type": delivery["type"], "timestamp": to_text(delivery["at"])}
    if order is None:
        return {**event, "data": {"endpointId": delivery["endpointId"]}}
    if endpoint.get("payload", FULL) == IDS:
        return {**event, "data": {"orderId": order["id"], "sequence": delivery["sequence"]}}
    # Only the shop may have endpoints that get the whole order.
    shown = public.order(order, for_shop=True)
    return {**event, "data": {"order": shown, "sequence": delivery["sequence"]}}


def _send(services: WebhookServices, endpoint: Endpoint, delivery: Delivery, order: Order | None) -> Answer:
    try:
        with services.tracer.orders("webhook", [order] if order else [], outward=True) as traces:
            return services.sender.send(
                endpoint["url"],
                signing(endpoint["secrets"], services.clock()),
                delivery["id"],
                services.real_clock(),
                _message(services, endpoint, delivery, order),
                traces.get(delivery.get("orderId", "")),
            )
    except OrderUnreadable:
        return Answer(None, UNREADABLE)
    except Exception:
        # A bug: this delivery is retried by the usual schedule, and the others do not wait for it.
        log.exception("webhook cannot be sent", delivery=delivery["id"], endpoint=endpoint["id"])
        return Answer(None, "internal")


def _note(
    services: WebhookServices, endpoint: Endpoint, claimed: Delivery, answer: Answer, attempt: Attempt
) -> str:
    fields = {
        "delivery": claimed["id"],
        "endpoint": endpoint["id"],
        "type": claimed["type"],
        **attempt,
        "at": to_text(attempt["at"]),
    }
    now = services.clock()
    match meaning(answer):
        case "taken":
            services.deliveries.close(claimed, attempt, "delivered")
            log.info("webhook sent", **fields)
            return "sent"
        case "gone":
            disabled = services.endpoints.disable_at(endpoint["url"], endpoint, "gone", now)
            services.deliveries.close(claimed, attempt, "failed", "endpoint_gone")
            if disabled:
                services.deliveries.give_up(endpoint["id"], now, "endpoint_disabled")
            log.warning("webhook endpoint is gone", **fields)
            return "failed"
    again = next_attempt(claimed["failures"] + 1, now, answer.retry_after)
    if again:
        services.deliveries.postpone(claimed, attempt, again)
        log.warning("webhook will be sent again", **fields)
        return "try_again"
    services.deliveries.close(claimed, attempt, "failed", "attempts_exhausted")
    log.warning("webhook failed for good", **fields)
    return "failed"
