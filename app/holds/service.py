"""The operations on holds: place one, release one, and end those whose time is over."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import structlog

from app.apart import apart
from app.errors import Fault, InvalidInput, NotFound, NothingToHold, TooManyHolds
from app.observability.tracing import about
from app.orders import OrderServices
from app.orders.commands import Decision, Request, carry_out
from app.orders.goods import is_partly_shipped
from app.orders.holds import CANCEL, HOLDABLE, IN_THE_FUTURE, MOST_HOLDS, Hold, find, over, past_ends
from app.orders.model import Change, Order, advance
from app.orders.reading import reads_order
from app.orders.saving import ACTOR
from app.orders.service import cancellation

log = structlog.get_logger()

BATCH = 500


class PlacedHold(NamedTuple):
    """A hold with its order. `is_new`: this request placed it, or the earlier request that it repeats."""

    order: Order
    hold: Hold
    is_new: bool
    replayed: bool = False


@reads_order
def place_hold(
    services: OrderServices, order_id: str, draft: Mapping[str, Any], request: Request
) -> PlacedHold:
    """Places a hold on the order. If the order has one with the same code, that one stays as it is.

    No capture begins after the hold is stored. Raises NotFound, StaleVersion, IdempotencyKeyReused,
    InvalidInput, NothingToHold, TooManyHolds, HistoryFull.
    """

    def decide(order: Order) -> Decision | None:
        if past_ends([draft], services.clock()):
            raise InvalidInput(Fault("/until", IN_THE_FUTURE))
        if find(order, draft["code"]):
            return None
        if order["status"] not in HOLDABLE:
            raise NothingToHold(f"The order is {order['status']}, so a hold has no effect.")
        if len(order.get("holds", ())) >= MOST_HOLDS:
            raise TooManyHolds(f"An order can have at most {MOST_HOLDS} holds.")
        return Decision([Change("hold.placed", draft)], made=draft["code"])

    carried = carry_out(services, order_id, "hold", request, decide)
    hold = find(carried.order, draft["code"])
    if hold is None:
        raise NotFound("The hold does not exist.")
    return PlacedHold(carried.order, hold, carried.made is not None, carried.replayed)


@reads_order
def release_hold(
    services: OrderServices, order_id: str, code: str, reason: str | None, request: Request
) -> tuple[Order, bool]:
    """Releases the hold with this code. Returns the order, and whether an earlier request with the same key
    released it.

    The capture is due at once if no other hold blocks it. Raises NotFound, StaleVersion,
    IdempotencyKeyReused, HistoryFull.
    """

    def decide(order: Order) -> Decision:
        if find(order, code) is None:
            raise NotFound("The order has no hold with this code.")
        data = {"code": code, "reason": reason} if reason else {"code": code}
        return Decision([Change("hold.released", data)])

    carried = carry_out(services, order_id, "release", request, decide)
    return carried.order, carried.replayed


def expire_holds(services: OrderServices) -> int:
    """Ends the holds whose time is over, and returns the number of their orders.

    An order that cannot be changed now is left to the next call.
    """
    ended, tried = 0, list[str]()
    while True:
        now = services.clock()
        orders = services.store.held_until(now, BATCH, tried)
        done = set(apart(orders, partial(_end_holds, services, now), _cannot_end))
        ended += len(done)
        tried += [order["id"] for order in orders if order["id"] not in done]
        if len(orders) < BATCH:
            return ended


def ends(order: Order, now: datetime) -> list[Change]:
    """The changes that end the holds whose time is over, and cancel the order if one of these says so.

    An order of which a part is shipped is not cancelled.
    """
    holds = over(order, now)
    changes = [Change("hold.expired", {"code": hold["code"]}) for hold in holds]
    can_be_cancelled = order["status"] in HOLDABLE and not is_partly_shipped(order)
    if can_be_cancelled and any(hold["then"] == CANCEL for hold in holds):
        changes += cancellation(order, "expired")
    return changes


def _end_holds(services: OrderServices, now: datetime, orders: Sequence[Order]) -> list[str]:
    """Ends the holds in one write for each order. Returns the ids of the orders that were written."""
    pairs = [(order, advance(order, now, ACTOR, ends(order, now))) for order in orders]
    lost = set(services.store.append_all(pairs, services.due_by()))
    return [order["id"] for order in orders if order["id"] not in lost]


def _cannot_end(order: Order, error: Exception) -> None:
    log.error("holds cannot be ended", exc_info=error, **about(order))
