"""The requests and answers about webhook endpoints and deliveries."""
# ruff: noqa: N815 - the names are those of the API

from typing import Any

from marshmallow import fields, post_load

from app.http.fields import Choice, Flag, ListOf, Text
from app.http.schemas import Answer, Input, PageQuery
from app.webhooks.delivery_store import STATUSES
from app.webhooks.model import PATTERNS, PAYLOADS, TEST, URL_PATTERN

_URL = (URL_PATTERN, "must be a URL such as https://example.com/hooks, without user, password or fragment")
_MOMENT = {"examples": ["2024-10-04T10:00:00.000Z"]}
_ID = {"pattern": "^[0-9a-f]{24}$"}
_DELIVERY_ID = {"pattern": "^[0-9a-f]{32}$", "description": "The `webhook-id` of every attempt."}

ENDPOINT = {
    "id": "66ffbd20a1b2c3d4e5f60718",
    "url": "https://shop.example/hooks",
    "events": ["order.*"],
    "enabled": True,
    "payload": "full",
    "createdAt": "2024-10-04T10:00:00.000Z",
    "updatedAt": "2024-10-04T10:00:00.000Z",
}
NEW_ENDPOINT = {"url": "https://shop.example/hooks", "events": ["order.*"]}
WITH_SECRET = ENDPOINT | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="}
DELIVERY = {
    "id": "01925698a8802b52f2f0d9e1c7a3b4f5",
    "endpointId": "66ffbd20a1b2c3d4e5f60718",
    "type": "order.shipped",
    "orderId": "66ffbd20a1b2c3d4e5f60719",
    "sequence": 6,
    "at": "2024-10-04T10:00:00.000Z",
    "status": "pending",
    "attempts": [{"at": "2024-10-04T10:00:00.100Z", "milliseconds": 87, "statusCode": 503}],
    "nextAttemptAt": "2024-10-04T10:00:05.400Z",
}
ENDPOINTS = {"endpoints": [ENDPOINT]}
DELIVERIES = {"deliveries": [DELIVERY]}


class EndpointChange(Input):
    """A change of an endpoint."""

    url = Text(2000, form=_URL)
    events = ListOf(Choice(PATTERNS, kind="an event type, a pattern such as order.*, or *"), 1, len(PATTERNS))
    enabled = Flag()


class EndpointIn(Input):
    """A new endpoint. Without `events` it receives all of them. `payload` never changes afterwards.

    The default of `payload` is `full` with the scope `webhooks:write`, and `ids` without it.
    """

    url = Text(2000, form=_URL, required=True)
    events = ListOf(Choice(PATTERNS, kind="an event type, a pattern such as order.*, or *"), 1, len(PATTERNS))
    payload = Choice(PAYLOADS)

    @post_load
    def everything_by_default(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """All events are the default."""
        return {"events": ["*"], **data}


class DeliveriesQuery(PageQuery):
    """The parameters of a page of deliveries."""

    status = Choice(STATUSES)


class EndpointOut(Answer):
    """A webhook endpoint."""

    id = fields.String(required=True, metadata=_ID)
    url = fields.String(required=True)
    events = fields.List(fields.String(metadata={"enum": list(PATTERNS)}), required=True)
    enabled = fields.Boolean(required=True)
    disabledReason = fields.String(
        metadata={
            "enum": ["requested", "gone"],
            "description": "`requested`: disabled by a request. `gone`: the receiver answered with 410.",
        }
    )
    payload = fields.String(
        required=True,
        metadata={
            "enum": list(PAYLOADS),
            "description": "`full`: webhooks contain the order. `ids`: only its id.",
        },
    )
    createdAt = fields.DateTime(required=True, metadata=_MOMENT)
    updatedAt = fields.DateTime(required=True, metadata=_MOMENT)


class EndpointWithSecret(EndpointOut):
    """An endpoint with its secret, which no other answer shows."""

    secret = fields.String(required=True, metadata={"pattern": "^whsec_[A-Za-z0-9+/]+=*$"})


class EndpointsOut(Answer):
    """A page of endpoints, newest first."""

    endpoints = fields.List(fields.Nested(EndpointOut), required=True)
    nextCursor = fields.String(metadata={"description": "Absent on the last page."})


class AttemptOut(Answer):
    """One attempt of a delivery."""

    at = fields.DateTime(required=True, metadata=_MOMENT)
    milliseconds = fields.Integer(required=True, metadata={"minimum": 0})
    statusCode = fields.Integer(metadata={"description": "The status of the receiver's answer."})
    error = fields.String(metadata={"description": "Why there is no status.", "examples": ["timeout"]})


class DeliveryOut(Answer):
    """The delivery of one event to one endpoint."""

    id = fields.String(required=True, metadata=_DELIVERY_ID)
    endpointId = fields.String(required=True, metadata=_ID)
    type = fields.String(required=True, metadata={"description": f"A public event, or `{TEST}`."})
    orderId = fields.String(metadata=_ID)
    sequence = fields.Integer(metadata={"minimum": 1})
    at = fields.DateTime(required=True, metadata=_MOMENT)
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    reason = fields.String(metadata={"description": "Why the delivery failed."})
    attempts = fields.List(fields.Nested(AttemptOut), required=True)
    nextAttemptAt = fields.DateTime(
        metadata={**_MOMENT, "description": "Present only while the delivery is pending."}
    )


class DeliveriesOut(Answer):
    """A page of deliveries, newest first."""

    deliveries = fields.List(fields.Nested(DeliveryOut), required=True)
    nextCursor = fields.String(metadata={"description": "Absent on the last page."})
