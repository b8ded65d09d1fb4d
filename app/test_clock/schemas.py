"""The requests and answers of the test clock."""
# ruff: noqa: N815 - the names are those of the API

from datetime import timedelta
from typing import Any

from marshmallow import ValidationError, fields

from app.http import examples
from app.http.fields import Checked
from app.http.schemas import ORDER_ID, Answer, Input, flag, listed, moment, text, whole
from app.orders.schemas import Event
from app.setting_parsers import span
from app.test_clock.service import LONGEST, MOST_SHOWN, Advanced, Time
from app.webhooks.schemas import AttemptOut

_ALLOWED = f"must be a time with a unit (ms, s, m, h or d), such as 16m, from 0s to {LONGEST.days}d"


class _Span(Checked, fields.String):
    """A time with a unit, from zero to LONGEST."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> timedelta:  # type: ignore[override]
        try:
            found = span(value) if isinstance(value, str) else None
        except ValueError:
            found = None
        if found is None or found > LONGEST:
            raise ValidationError(_ALLOWED)
        return found


class AdvanceIn(Input):
    """How far the time is moved."""

    by = _Span(
        required=True,
        metadata={"pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d)$", "examples": ["16m", "3d"]},
        doc="A number with a unit: `ms`, `s`, `m`, `h` or `d`. `0s` goes on to a `target` not yet reached.",
    )


class TimeOut(Answer):
    """The time of the service."""

    now = moment("The present time of the service.")
    offsetSeconds = fields.Float(
        required=True,
        metadata={"description": "How far it is ahead of the real time, in seconds.", "minimum": 0},
    )
    target = moment(
        "The time that a call began to move to and has not reached; absent otherwise.", required=False
    )


class OrderEvent(Event):
    """An event of an order, with the order's id."""

    orderId = text("The id of the order.", pattern=ORDER_ID)


class WebhookAttempt(AttemptOut):
    """One attempt of a delivery, with the ids of the delivery, the endpoint and the order."""

    deliveryId = text("The `webhook-id` of the attempt.", pattern="^[0-9a-f]{32}$")
    endpointId = text("The id of the endpoint.", pattern=ORDER_ID)
    orderId = text("The id of the order; absent for a test event.", required=False, pattern=ORDER_ID)
    type = text("The type of the event.")


class AdvancedOut(TimeOut):
    """The time after the call, and what happened meanwhile."""

    done = flag("Whether the time is reached and all that came due is done. If not, send `0s`.")
    events = listed(
        fields.Nested(OrderEvent), f"The first {MOST_SHOWN:,} events, oldest first.", maxItems=MOST_SHOWN
    )
    omittedEvents = whole("The number of events that `events` leaves out.", required=False, minimum=1)
    webhookAttempts = listed(
        fields.Nested(WebhookAttempt),
        f"The first {MOST_SHOWN:,} attempts to send a webhook, oldest first.",
        maxItems=MOST_SHOWN,
    )
    omittedAttempts = whole(
        "The number of attempts that `webhookAttempts` leaves out.", required=False, minimum=1
    )


NEW_TIME = {"by": "16m"}
TIME = {"now": "2024-10-04T10:16:00.000Z", "offsetSeconds": 960.0}
ADVANCED = {
    **TIME,
    "done": True,
    "events": [{"orderId": examples.ORDER["id"], **examples.EVENTS["events"][0]}],
    "webhookAttempts": [],
}


def time_out(time: Time) -> dict[str, Any]:
    """The public form of the time."""
    found = {"now": time.now, "offsetSeconds": time.offset / timedelta(seconds=1), "target": time.target}
    return TimeOut.of({name: value for name, value in found.items() if value is not None})


def advanced_out(advanced: Advanced, events: list[Any]) -> dict[str, Any]:
    """The public form of a call's outcome, with the events as they are shown."""
    attempts = [
        WebhookAttempt.of(
            {**one.attempt, **one.delivery, "deliveryId": one.delivery["id"], "at": one.attempt["at"]}
        )
        for one in advanced.attempts
    ]
    omitted = {"omittedEvents": advanced.omitted_events, "omittedAttempts": advanced.omitted_attempts}
    return {
        **time_out(advanced.time),
        "done": advanced.time.target is None,
        "events": events,
        "webhookAttempts": attempts,
        **{name: number for name, number in omitted.items() if number},
    }
