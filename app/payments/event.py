"""What is kept of the events of payment providers, and which of them tell of money."""

from datetime import datetime
from typing import NotRequired, TypedDict

# The first part of a type. Disputes, payouts and whatever a provider may think of next are kept and ignored.
_OF_PAYMENTS = frozenset(("payment", "payment_intent", "charge", "refund"))


class ReceivedEvent(TypedDict):
    """An event as it is kept: no body, since that may tell of the customer. `id` is `<provider>:<event id>`,
    `orderId` and `reference` are what the event says that it is about."""

    id: str
    type: str
    receivedAt: datetime
    attempts: int
    orderId: NotRequired[str]
    reference: NotRequired[str]


def tells_of_a_payment(event: ReceivedEvent) -> bool:
    """Whether there is something to look after; an event of unknown type or about nothing of ours is not."""
    return event["type"].partition(".")[0] in _OF_PAYMENTS and ("orderId" in event or "reference" in event)
