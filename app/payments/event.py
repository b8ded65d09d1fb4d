"""The stored form of a payment provider's event, and the rule for which events matter."""

from datetime import datetime
from typing import NotRequired, TypedDict

# The first part of the event's type. Events of other types, such as disputes or payouts, are stored and
# ignored.
_OF_PAYMENTS = frozenset(("payment", "payment_intent", "charge", "refund"))


class ReceivedEvent(TypedDict):
    """A stored event, without its body, which may hold personal data.

    `id` is `<provider>:<event id>`. `orderId` and `reference` name the order and the payment of the event.
    """

    id: str
    type: str
    receivedAt: datetime
    attempts: int
    orderId: NotRequired[str]
    reference: NotRequired[str]


def is_about_a_payment(event: ReceivedEvent) -> bool:
    """Whether the event needs work: it has a known type and names an order or a payment."""
    return event["type"].partition(".")[0] in _OF_PAYMENTS and ("orderId" in event or "reference" in event)
