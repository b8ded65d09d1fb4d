"""Past states of an order: notifications and the feed show an order as it was at one of its events."""

from app.orders.model import Order, fold
from app.orders.reading import reading


def as_of(order: Order, sequence: int) -> Order:
    """The order as it was right after the event. Raises OrderUnreadable if its log is damaged."""
    with reading(order["id"]):
        past = fold(order["id"], order["events"][:sequence])
        if "personal" in order:
            past["personal"] = order["personal"]
        if "origin" in order:
            past["origin"] = order["origin"]
    return past
