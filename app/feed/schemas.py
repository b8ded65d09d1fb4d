"""What may be asked of the event feed, and what it answers."""
# ruff: noqa: N815 - the names are those of the API

import re

from marshmallow import fields

from app.http.fields import ListOf, Text, Whole
from app.http.schemas import Answer, Input
from app.orders.events import EVENTS
from app.orders.schemas import Order

# What can be asked for: one type of event, or all of an axis.
KINDS: dict[str, frozenset[str]] = {kind: frozenset({kind}) for kind in EVENTS} | {
    f"{axis}.*": frozenset(kind for kind in EVENTS if kind.startswith(f"{axis}."))
    for axis in {kind.partition(".")[0] for kind in EVENTS}
}
_KIND = f"({'|'.join(re.escape(kind) for kind in sorted(KINDS))})"


class FeedQuery(Input):
    """Which part of the feed."""

    limit = Whole(1, 1000, spelled=True, load_default=100)
    types = ListOf(
        Text(
            1000,
            form=(f"^{_KIND}(,{_KIND})*$", "must be event types such as order.shipped or order.*"),
            metadata={"examples": ["order.*,payment.refunded"]},
        )
    )
    # Whatever is wrong with it, it is a bad cursor, which is for `paging` to say.
    after = fields.String(
        error_messages={"invalid": "must be given only once"},
        metadata={"description": "The `nextCursor` of the answer before, with the same `types`."},
    )


class FedOrder(Answer):
    """What happened to which order: `order`, or `orderId` and `unreadable` if it cannot be shown."""

    order = fields.Nested(Order, metadata={"description": "As it was right after the event."})
    orderId = fields.String(metadata={"pattern": "^[0-9a-f]{24}$", "description": "With `unreadable`."})
    sequence = fields.Integer(required=True, metadata={"minimum": 1, "description": "Its version then."})
    unreadable = fields.Boolean(
        metadata={"enum": [True], "description": "The order cannot be shown. The fault is the service's own."}
    )


class FedEvent(Answer):
    """An event of an order."""

    id = fields.String(
        required=True,
        metadata={"pattern": "^[0-9a-f]{24}:[0-9]+$", "description": "The same for ever, and no other's."},
    )
    type = fields.String(required=True, metadata={"enum": list(EVENTS)})
    timestamp = fields.DateTime(required=True, metadata={"examples": ["2024-10-04T10:00:00.000Z"]})
    data = fields.Nested(FedOrder, required=True)


class Feed(Answer):
    """A part of the feed."""

    events = fields.List(fields.Nested(FedEvent), required=True)
    nextCursor = fields.String(
        required=True, metadata={"description": "Where to go on, now or later; always there."}
    )
    hasMore = fields.Boolean(required=True, metadata={"description": "Whether it is worth asking at once."})
