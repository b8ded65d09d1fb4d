"""Past states of an order: notifications and the feed show an order as it was at one of its events."""

from app.orders.model import Order, fold
from app.orders.reading import reading


class History:
    """The past states of one order. Each is folded from the one before, if they are asked for in order."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._sequence = 0
        self._past: Order | None = None

    def as_of(self, sequence: int) -> Order:
        """The order as it was right after the event. Raises OrderUnreadable if its log is damaged."""
        order = self.order
        with reading(order["id"]):
            if sequence < self._sequence:
                self._sequence, self._past = 0, None
            events = order["events"][self._sequence : sequence]
            self._past = past = fold(order["id"], events, self._past)
            self._sequence = sequence
            past["number"] = order["number"]
            if "personal" in order:
                past["personal"] = order["personal"]
            if "origin" in order:
                past["origin"] = order["origin"]
        return past


def as_of(order: Order, sequence: int) -> Order:
    """The order as it was right after the event. Raises OrderUnreadable if its log is damaged."""
    return History(order).as_of(sequence)
