"""Events of the sandbox provider, signed as it signs them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from datetime import timedelta

SECRET = "whsec_c2FuZGJveCBldmVudHMgYXJlIHNpZ25lZA=="


class Call(NamedTuple):
    """A request of a provider."""

    headers: dict[str, str]
    body: bytes


def event(order_id: str | None, kind: str = "payment.captured") -> bytes:
    """The body of an event about an order, or about none."""
    data = {} if order_id is None else {"data": {"orderId": order_id}}
    return json.dumps({"type": kind, **data}).encode()


def signed(
    body: bytes, event_id: str | None = None, *, secret: str = SECRET, age: timedelta | None = None
) -> Call:
    """The call that sends an event, by default a new one of now."""
    event_id = event_id or f"evt_{uuid.uuid4().hex}"
    at = datetime.now(UTC) - age if age else datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, at, body.decode()),
    }
    return Call(headers, body)


def post(client: Any, call: Call, provider: str = "sandbox") -> Any:
    """The service's answer to the call."""
    return client.post(f"/payment-events/{provider}", data=call.body, headers=call.headers)
