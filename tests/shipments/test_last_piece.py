"""Of many rivals for the last piece of an order one wins, whatever each of them wants."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.errors import (
    IllegalTransition,
    NothingOpen,
    NothingToHold,
    NotRefundable,
    OnHold,
    PartlyShipped,
    RefundTooLarge,
)
from app.holds.service import place_hold
from app.orders import goods
from app.orders.commands import Request
from app.orders.service import change_status, verify
from app.refunds.service import request_refund
from app.shipments.service import create_shipment
from tests.support.doubles import at_once, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Finish, Place

CLIENTS = 64
SHOP = Request("shop")
LAST = {"products": [{"line": 1, "quantity": 1}]}
HOLD = {"code": "stop", "blocks": ["ship"], "then": "release"}
REFUSALS = {
    IllegalTransition,
    NothingOpen,
    OnHold,
    PartlyShipped,
    NothingToHold,
    NotRefundable,
    RefundTooLarge,
}


def ship(services: Services, order_id: str) -> Any:
    return create_shipment(services.orders, order_id, LAST, SHOP)


def ship_all(services: Services, order_id: str) -> Any:
    return create_shipment(services.orders, order_id, {}, SHOP)


def put(services: Services, order_id: str) -> Any:
    return change_status(services.orders, order_id, "shipped", actor="shop")


def cancel(services: Services, order_id: str) -> Any:
    return change_status(services.orders, order_id, "cancelled", actor="shop")


def hold(services: Services, order_id: str) -> Any:
    return place_hold(services.orders, order_id, HOLD, SHOP)


def refund(services: Services, order_id: str) -> Any:
    return request_refund(
        services.orders, order_id, {"amount": Decimal(1)}, actor="shop", key=None, digest=""
    )


@pytest.fixture
def busy(services: Services) -> Services:
    """Services whose clock goes on, since each rival reads it."""
    return with_parts(services, clock=now)


def race(busy: Services, order_id: str, mix: tuple[Callable[..., Any], ...]) -> list[tuple[str, Any]]:
    """The name and the outcome of each of 64 calls at once."""
    calls = [mix[number % len(mix)] for number in range(CLIENTS)]
    outcomes = at_once(*(lambda call=call: call(busy, order_id) for call in calls))
    return [(call.__name__, outcome) for call, outcome in zip(calls, outcomes, strict=True)]


def won(raced: list[tuple[str, Any]], *names: str) -> int:
    return sum(name in names and not isinstance(outcome, Exception) for name, outcome in raced)


def refusals(raced: list[tuple[str, Any]]) -> set[type]:
    return {type(outcome) for _, outcome in raced if isinstance(outcome, Exception)}


def shipped_of(books: Books, order_id: str) -> list[int]:
    return goods.shipped(books.order(order_id))


def test_of_64_shipments_of_the_last_piece_one_is_made(
    busy: Services, place: Place, stocked: Any, finish: Finish, books: Books
) -> None:
    """The others say that nothing is open."""
    stocked(apple=5)
    order_id = place(apple=2)["id"]
    finish(busy, order_id)
    ship(busy, order_id)
    raced = race(busy, order_id, (ship,))
    assert won(raced, "ship") == 1
    refused = [outcome for _, outcome in raced if isinstance(outcome, Exception)]
    assert {type(one) for one in refused} == {NothingOpen}
    assert [one.left for one in refused] == [[]] * (CLIENTS - 1)
    order = books.order(order_id)
    assert (order["status"], goods.shipped(order)) == ("shipped", [2])
    assert [one["id"] for one in order["shipments"]] == [f"{order_id}-s1", f"{order_id}-s2"]


def test_a_first_shipment_and_a_cancellation_exclude_each_other(
    busy: Services, place: Place, stocked: Any, finish: Finish, books: Books
) -> None:
    """With holds and refunds in between. Nothing is shipped of an order that gets its money back."""
    stocked(apple=5)
    order_id = place(apple=1)["id"]
    finish(busy, order_id)
    raced = race(busy, order_id, (ship, ship_all, put, cancel, hold, refund))
    order = books.order(order_id)
    shipments = [event for event in order["events"] if event["type"] == "shipment.created"]
    cancellations = [event for event in order["events"] if event["type"] == "order.cancelled"]
    assert len(shipments) + len(cancellations) == 1
    assert order["status"] == ("shipped" if shipments else "cancelled")
    assert won(raced, "ship", "ship_all") <= len(shipments)
    assert refusals(raced) <= REFUSALS
    finish(busy, order_id)
    order = books.order(order_id)
    payment = order["payment"]
    assert payment["refundedAmount"] <= payment["capturedAmount"]
    assert cancellations == [] or payment["status"] == "refunded"
    assert books.levels() == {"apple": 4 if shipments else 5}
    assert verify(busy.orders, order_id) is None


def test_the_last_piece_of_a_partly_shipped_order_goes_once(
    busy: Services, place: Place, stocked: Any, finish: Finish, books: Books
) -> None:
    """A cancellation of the whole order is never possible then."""
    stocked(apple=5)
    order_id = place(apple=2)["id"]
    finish(busy, order_id)
    ship(busy, order_id)
    raced = race(busy, order_id, (ship, put, cancel, hold))
    order = books.order(order_id)
    assert won(raced, "cancel") == 0
    assert Counter(event["type"] for event in order["events"])["shipment.created"] in (1, 2)
    held = "holds" in order and order["status"] == "confirmed"
    assert goods.shipped(order) == ([1] if held else [2])
    assert sum(shipped_of(books, order_id)) + sum(goods.open_pieces(order)) == 2
