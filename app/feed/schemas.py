"""The requests and answers of the event feed."""
# ruff: noqa: N815 - the names are those of the API

import re

from marshmallow import fields

from app.http.fields import ListOf, Text, Whole
from app.http.schemas import Answer, Input
from app.orders.events import EVENTS
from app.orders.schemas import Order

# The filters: one event type, or all types of an axis.
KINDS: dict[str, frozenset[str]] = {kind: frozenset({kind}) for kind in EVENTS} | {
    f"{axis}.*": frozenset(kind for kind in EVENTS if kind.startswith(f"{axis}."))
    for axis in {kind.partition(".")[0] for kind in EVENTS}
}
_KIND = f"({'|'.join(re.escape(kind) for kind in sorted(KINDS))})"


class FeedQuery(Input):
    """The parameters of a part of the feed."""

    limit = Whole(1, 1000, spelled=True, load_default=100)
    types = ListOf(
        Text(
            1000,
            form=(f"^{_KIND}(,{_KIND})*$", "must be event types such as order.shipped or order.*"),
            metadata={"examples": ["order.*,payment.refunded"]},
        )
    )
    # The cursor is checked later: every invalid value is a bad cursor.
    after = fields.String(
        error_messages={"invalid": "must be given only once"},
        metadata={"description": "The `nextCursor` of the previous answer, with the same `types`."},
    )


class FedOrder(Answer):
    """The order of an event: `order`, or `orderId` and `unreadable` if the order is damaged."""

    order = fields.Nested(Order, metadata={"description": "The order right after the event."})
    orderId = fields.String(
        metadata={"pattern": "^[0-9a-f]{24}$", "description": "The id of the order, with `unreadable`."}
    )
    sequence = fields.Integer(
        required=True, metadata={"minimum": 1, "description": "The version of the order after the event."}
    )
    unreadable = fields.Boolean(metadata={"enum": [True], "description": "The stored order is damaged."})


class FedEvent(Answer):
    """An event of an order."""

    id = fields.String(
        required=True,
        metadata={"pattern": "^[0-9a-f]{24}:[0-9]+$", "description": "Unique and permanent."},
    )
    type = fields.String(required=True, metadata={"enum": list(EVENTS)})
    timestamp = fields.DateTime(required=True, metadata={"examples": ["2024-10-04T10:00:00.000Z"]})
    data = fields.Nested(FedOrder, required=True)


class Feed(Answer):
    """A part of the feed."""

    events = fields.List(fields.Nested(FedEvent), required=True)
    nextCursor = fields.String(
        required=True, metadata={"description": "The cursor for the next request; always present."}
    )
    hasMore = fields.Boolean(required=True, metadata={"description": "Whether there are more events now."})
