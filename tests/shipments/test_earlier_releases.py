"""An order that an earlier release shipped has one shipment of all its pieces, and goes on like any other."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.orders import goods
from app.orders.commands import Request
from app.orders.model import Change, advance, fold
from app.orders.service import change_status, verify
from app.shipments.service import (
    cancel_shipment,
    correct_shipment,
    create_shipment,
    deliver_shipment,
    get_shipment,
    list_shipments,
)
from tests.support.doubles import with_parts

if TYPE_CHECKING:
    from app.orders.model import Order
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

SHOP = Request("shop")
DHL, UPS = {"carrier": "DHL", "number": "1"}, {"carrier": "UPS", "number": "2"}
# What earlier releases write.
SHIPPED, DELIVERED = Change("order.shipped", {"tracking": DHL}), Change("order.delivered")
NOTED = Change("order.tagged", {"added": ["vip"], "removed": []})


@pytest.fixture
def order_id(services: Services, place: Place, finish: Finish) -> str:
    """A confirmed order."""
    order_id = place(apple=3, pear=2)["id"]
    finish(services, order_id)
    return order_id


def write(services: Services, clock: StoppedClock, order_id: str, *changes: Change) -> Order:
    """The order after writes of its own for each change, a second apart."""
    orders = services.orders
    for change in changes:
        clock.advance(timedelta(seconds=1))
        before: Any = orders.store.with_log(order_id)
        after = advance(before, clock(), "shop", [change])
        assert orders.store.append(before, after, orders.due_by())
    found: Any = orders.store.with_log(order_id)
    return found


def is_sound(services: Services, books: Books, order_id: str) -> bool:
    """Whether the log is intact, and folds to the document."""
    order = books.order(order_id)
    folded = fold(order_id, order["events"])
    same = all(folded.get(name) == order.get(name) for name in ("shipments", "tracking", "status"))
    return same and verify(services.orders, order_id) is None


def test_its_shipment_has_the_times_of_its_events(
    services: Services, clock: StoppedClock, order_id: str, books: Books
) -> None:
    """A later event of another kind does not move them."""
    shipped = write(services, clock, order_id, SHIPPED, NOTED)
    at = next(event["at"] for event in shipped["events"] if event["type"] == "order.shipped")
    (one,) = (each.shipment for each in list_shipments(services.orders, order_id))
    assert (one["id"], one["status"], one["tracking"]) == (f"{order_id}-s1", "shipped", DHL)
    assert (one["createdAt"], one["updatedAt"]) == (at, at)
    assert goods.open_pieces(shipped) == [0, 0]
    delivered = write(services, clock, order_id, DELIVERED, NOTED)
    one = get_shipment(services.orders, order_id, f"{order_id}-s1").shipment
    at = next(event["at"] for event in delivered["events"] if event["type"] == "order.delivered")
    assert (one["status"], one["deliveredAt"]) == ("delivered", at)
    assert "shipments" not in books.order(order_id)


def test_it_is_corrected_delivered_and_cancelled_like_any_other(
    services: Services, clock: StoppedClock, order_id: str, books: Books
) -> None:
    """The first change stores it with the time at which it was shipped."""
    shipped = write(services, clock, order_id, SHIPPED, NOTED)
    at = next(event["at"] for event in shipped["events"] if event["type"] == "order.shipped")
    name = f"{order_id}-s1"
    correct_shipment(services.orders, order_id, name, {"tracking": UPS}, SHOP)
    order = books.order(order_id)
    (stored,) = order["shipments"]
    assert (stored["createdAt"], stored["tracking"], order["tracking"]) == (at, UPS, UPS)
    assert is_sound(services, books, order_id)
    cancel_shipment(services.orders, order_id, name, SHOP)
    assert books.order(order_id)["status"] == "confirmed"
    made = create_shipment(services.orders, order_id, {}, SHOP)
    assert made.shipment["id"] == f"{order_id}-s2"
    deliver_shipment(services.orders, order_id, made.shipment["id"], SHOP)
    assert books.order(order_id)["status"] == "delivered"
    assert is_sound(services, books, order_id)


@pytest.mark.parametrize("by_status", [True, False])
def test_it_is_delivered_by_an_old_client_or_by_its_shipment(
    services: Services, clock: StoppedClock, order_id: str, books: Books, by_status: bool
) -> None:
    shipped = write(services, clock, order_id, SHIPPED)
    if by_status:
        change_status(services.orders, order_id, "delivered", actor="shop")
    else:
        deliver_shipment(services.orders, order_id, f"{order_id}-s1", SHOP)
    order = books.order(order_id)
    (stored,) = order["shipments"]
    assert (order["status"], stored["status"]) == ("delivered", "delivered")
    assert stored["createdAt"] == shipped["updatedAt"]
    assert is_sound(services, books, order_id)


def test_an_earlier_release_may_deliver_what_this_one_shipped(
    services: Services, clock: StoppedClock, order_id: str
) -> None:
    """All shipments count as delivered then."""
    create_shipment(services.orders, order_id, {"products": [{"line": 1, "quantity": 1}]}, SHOP)
    change_status(services.orders, order_id, "shipped", actor="shop")
    order = write(services, clock, order_id, DELIVERED)
    assert [one["status"] for one in goods.shipments(order)] == ["delivered", "delivered"]
    assert goods.fulfillment(order) == {"status": "delivered", "open": []}


def test_an_order_shipped_in_one_parcel_costs_no_more_writes_than_before(
    services: Services, order_id: str, books: Books
) -> None:
    """One for `shipped` and one for `delivered`, as before shipments were stored."""
    written: list[str] = []

    class Counted(type(services.orders.store)):  # type: ignore[misc]
        """The same orders, with their writes counted."""

        def append(self, before: Order, after: Order, *more: Any, **named: Any) -> bool:
            """Writes, and notes the types of the events."""
            types = [event["type"] for event in after["events"] if event["sequence"] > before["version"]]
            written.append(", ".join(types))
            done: bool = super().append(before, after, *more, **named)
            return done

    store = object.__new__(Counted)
    vars(store).update(vars(services.orders.store))
    counting = with_parts(services, orders=store)
    for status in ("shipped", "delivered"):
        change_status(counting.orders, order_id, status, actor="shop")
    assert written == ["shipment.created, order.shipped", "shipment.delivered, order.delivered"]
    assert books.order(order_id)["version"] == 9
