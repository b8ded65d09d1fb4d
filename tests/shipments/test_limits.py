"""Shipments within the limits of an order: its holds, and the room in its log."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import HistoryFull
from app.holds.service import expire_holds, place_hold
from app.orders.bounds import LIMITS, MOST_EVENTS
from app.orders.commands import Request
from app.orders.model import Change, Order, advance
from app.shipments.service import create_shipment
from tests.orders.test_bounds import AT, confirmed, grown

if TYPE_CHECKING:
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

SHOP = Request("shop")
UNDER_WAY = 50


def test_a_hold_whose_time_is_over_does_not_cancel_an_order_that_is_shipped_in_part(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place(apple=2)["id"]
    finish(services, order_id)
    until = clock() + timedelta(minutes=1)
    hold: Any = {"code": "a", "blocks": ["capture"], "until": until, "then": "cancel"}
    place_hold(services.orders, order_id, hold, SHOP)
    create_shipment(services.orders, order_id, {"products": [{"line": 1, "quantity": 1}]}, SHOP)
    clock.advance(timedelta(minutes=2))
    expire_holds(services.orders)
    order = books.order(order_id)
    assert order["status"] == "confirmed"
    assert "holds" not in order
    assert order["events"][-1]["type"] == "hold.expired"


def parcels(order: Order) -> Order:
    """The order with so many shipments that are under way."""
    pieces = [{"line": 1, "quantity": 1}]
    changes = [
        Change("shipment.created", {"shipmentId": f"s{number}", "products": pieces})
        for number in range(UNDER_WAY)
    ]
    return advance(order, AT, "shop", changes)


def is_taken(order: Order, command: str, change: Change) -> bool:
    try:
        advance(order, AT, "shop", [change], command)
    except HistoryFull:
        return False
    return True


@pytest.mark.parametrize("command", ["note", "amend", "tag", "hold", "correct_shipment"])
def test_room_is_kept_for_the_delivery_of_each_shipment(command: str) -> None:
    """From the highest version at which the command is taken, all can be delivered and the order deleted."""
    order = parcels(confirmed())
    change = Change("shipment.corrected", {"shipmentId": "s0"})
    last = next(n for n in range(MOST_EVENTS, 0, -1) if is_taken(grown(order, n), command, change))
    assert last < LIMITS[command].events - UNDER_WAY
    after = advance(grown(order, last), AT, "shop", [change], command)
    ends = [Change("shipment.delivered", {"shipmentId": f"s{number}"}) for number in range(UNDER_WAY)]
    rest = [Change("order.shipped"), *ends, Change("order.delivered")]
    after = advance(after, AT, "shop", rest, "deliver")
    assert after["version"] < LIMITS["delete"].events
