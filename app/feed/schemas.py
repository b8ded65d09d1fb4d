"""The requests and answers of the event feed."""
# ruff: noqa: N815 - the names are those of the API

import re

from marshmallow import fields

from app.http.fields import ListOf, Text, Whole
from app.http.schemas import ORDER_ID, Answer, Input, flag, listed, moment, nested, text, whole
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

    limit = Whole(1, 1000, spelled=True, load_default=100, doc="The maximum number of events in the answer.")
    types = ListOf(
        Text(
            1000,
            form=(f"^{_KIND}(,{_KIND})*$", "must be event types such as order.shipped or order.*"),
            metadata={"examples": ["order.*,payment.refunded"]},
        ),
        doc="The types of the events, such as `order.shipped` or `order.*`; all types without it.",
    )
    # The cursor is checked later: every invalid value is a bad cursor.
    after = fields.String(
        error_messages={"invalid": "must be given only once"},
        metadata={"description": "The `nextCursor` of the previous answer, with the same `types`."},
    )


class FedOrder(Answer):
    """The order of an event: `order`, or `orderId` and `unreadable` if the order is damaged."""

    order = nested(Order, "The order right after the event.", required=False)
    orderId = text("The id of the order, with `unreadable`.", required=False, pattern=ORDER_ID)
    sequence = whole("The version of the order after the event.", minimum=1)
    unreadable = flag("The stored order is damaged.", required=False, enum=[True])


class FedEvent(Answer):
    """An event of an order."""

    id = text("Unique and permanent.", pattern="^[0-9a-f]{24}:[0-9]+$")
    type = text("The type of the event.", enum=list(EVENTS))
    timestamp = moment("The time of the event.")
    data = nested(FedOrder, "The order of the event.")


class Feed(Answer):
    """A part of the feed."""

    events = listed(fields.Nested(FedEvent), "The events, oldest first.")
    nextCursor = text("The `after` of the next request; always present.")
    hasMore = flag("Whether there are more events now.")
