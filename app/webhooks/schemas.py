"""The requests and answers about webhook endpoints and deliveries."""
# ruff: noqa: N815 - the names are those of the API

from typing import Any

from marshmallow import fields, post_load

from app.http.fields import Choice, Flag, ListOf, Text
from app.http.schemas import (
    ORDER_ID,
    Answer,
    Input,
    PageQuery,
    flag,
    listed,
    moment,
    next_cursor,
    text,
    whole,
)
from app.webhooks.model import PATTERNS, PAYLOADS, STATUSES, TEST, URL_PATTERN

_URL = (URL_PATTERN, "must be a URL such as https://example.com/hooks, without user, password or fragment")
_URL_DOC = "The URL that receives the webhooks."
_PAYLOAD_DOC = "`full`: webhooks contain the order. `ids`: only its id."
_EVENTS_DOC = "The events to receive: types such as `order.shipped`, patterns such as `order.*`, or `*`."

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


def _events() -> ListOf:
    subscription = Choice(PATTERNS, kind="an event type, a pattern such as order.*, or *")
    return ListOf(subscription, 1, len(PATTERNS), doc=_EVENTS_DOC)


class EndpointChange(Input):
    """A change of an endpoint."""

    url = Text(2000, form=_URL, doc=_URL_DOC)
    events = _events()
    enabled = Flag(doc="Whether webhooks are sent to the endpoint.")


class EndpointIn(Input):
    """A new endpoint. Without `events` it receives all of them. `payload` never changes afterwards.

    The default of `payload` is `full` with the scope `webhooks:write`, and `ids` without it.
    """

    url = Text(2000, form=_URL, required=True, doc=_URL_DOC)
    events = _events()
    payload = Choice(PAYLOADS, doc=_PAYLOAD_DOC)

    @post_load
    def everything_by_default(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """All events are the default."""
        return {"events": ["*"], **data}


class DeliveriesQuery(PageQuery):
    """The parameters of a page of deliveries."""

    status = Choice(STATUSES, doc="Only deliveries with this status.")


class EndpointOut(Answer):
    """A webhook endpoint."""

    id = text("The id of the endpoint.", pattern=ORDER_ID)
    url = text(_URL_DOC)
    events = listed(fields.String(metadata={"enum": list(PATTERNS)}), _EVENTS_DOC)
    enabled = flag("Whether webhooks are sent to the endpoint.")
    disabledReason = text(
        "`requested`: disabled by a request. `gone`: the receiver answered with 410.",
        required=False,
        enum=["requested", "gone"],
    )
    payload = text(_PAYLOAD_DOC, enum=list(PAYLOADS))
    createdAt = moment("The time of creation.")
    updatedAt = moment("The time of the last change.")


class EndpointWithSecret(EndpointOut):
    """An endpoint with its secret, which no other answer shows."""

    secret = text("The secret that verifies the webhooks.", pattern="^whsec_[A-Za-z0-9+/]+=*$")


class EndpointsOut(Answer):
    """A page of endpoints, newest first."""

    endpoints = listed(fields.Nested(EndpointOut), "The endpoints of the page, newest first.")
    nextCursor = next_cursor()


class AttemptOut(Answer):
    """One attempt of a delivery."""

    at = moment("The time at which the attempt began.")
    milliseconds = whole("How long the attempt took.", minimum=0)
    statusCode = whole("The status of the receiver's answer.", required=False)
    error = text("Why there is no status.", required=False, examples=["timeout"])


class DeliveryOut(Answer):
    """The delivery of one event to one endpoint."""

    id = text("The `webhook-id` of every attempt.", pattern="^[0-9a-f]{32}$")
    endpointId = text("The id of the endpoint.", pattern=ORDER_ID)
    type = text(f"A public event, or `{TEST}`.")
    orderId = text("The id of the order; absent for a test event.", required=False, pattern=ORDER_ID)
    sequence = whole("The sequence of the event; absent for a test event.", required=False, minimum=1)
    at = moment("The time of the event.")
    status = text("The status of the delivery.", enum=list(STATUSES))
    reason = text("Why the delivery failed.", required=False)
    attempts = listed(fields.Nested(AttemptOut), "The attempts so far, oldest first.")
    nextAttemptAt = moment("The time of the next attempt, while the delivery is pending.", required=False)


class DeliveriesOut(Answer):
    """A page of deliveries, newest first."""

    deliveries = listed(fields.Nested(DeliveryOut), "The deliveries of the page, newest first.")
    nextCursor = next_cursor()
