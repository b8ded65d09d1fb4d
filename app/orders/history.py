"""What was: an order as it stood at one of its events, which is what is told of that event."""

from app.orders.model import Order, fold
from app.orders.reading import reading


def as_of(order: Order, sequence: int) -> Order:
    """The order as it was at the event. Raises OrderUnreadable where its log leads nowhere any more."""
    with reading(order["id"]):
        past = fold(order["id"], order["events"][:sequence])
        if "personal" in order:
            past["personal"] = order["personal"]
        if "origin" in order:
            past["origin"] = order["origin"]
    return past
