"""What was: an order as it stood at one of its events, which is what is told of that event."""

import structlog

from app.domain.order import Order, fold
from app.tracing import about

log = structlog.get_logger()


def as_of(order: Order | None, sequence: int) -> Order | None:
    """The order as it was at the event; None where it is gone, or its log leads nowhere any more."""
    if order is None:
        return None
    try:
        past = fold(order["id"], order["events"][:sequence])
    except Exception:
        log.exception("order cannot be folded", sequence=sequence, **about(order))
        return None
    if "personal" in order:
        past["personal"] = order["personal"]
    if "origin" in order:
        past["origin"] = order["origin"]
    return past
