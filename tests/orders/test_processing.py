"""The steps of an order against a real database: each has its effect once, however it is called."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app.orders import steps
from app.orders.processing import perform
from app.orders.service import change_status, delete_order
from tests.support.doubles import with_parts

if TYPE_CHECKING:
    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Finish, Place, SetStock


@pytest.mark.parametrize("method", [None, "sandbox_ok", "sandbox_timeout_once", "sandbox_slow"])
def test_an_order_whose_payment_succeeds_ends_confirmed(
    method: str | None, services: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=5)
    order = place(apple=2, method=method)
    finish(services, order["id"])
    (ended,) = books.check()
    assert ended["status"] == "confirmed"
    assert ended["payment"]["capturedAmount"] == order["totalAmount"]
    assert ended["payment"]["reference"] == f"sandbox_{order['id']}"
    assert books.levels() == {"apple": 3}
    assert [event["type"] for event in ended["events"]] == [
        "order.created",
        "payment.authorized",
        "stock.decremented",
        "payment.captured",
        "order.confirmed",
    ]


@pytest.mark.parametrize(
    ("method", "code"),
    [("sandbox_declined", "card_declined"), ("sandbox_insufficient_funds", "insufficient_funds")],
)
def test_a_declined_order_ends_cancelled_with_the_reason_and_takes_no_stock(
    method: str, code: str, services: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=5)
    order = place(apple=2, method=method)
    finish(services, order["id"])
    (ended,) = books.check()
    assert (ended["status"], ended["payment"]["status"], ended["stock"]["status"]) == (
        "cancelled",
        "declined",
        "released",
    )
    assert ended["payment"]["failure"]["code"] == code
    assert ended["cancellation"] == {"reason": "payment_declined"}
    assert books.levels() == {"apple": 5}


def test_an_order_that_is_short_ends_cancelled_with_every_shortage_and_its_payment_voided(
    services: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=5, bread=1, cheese=0)
    order = place(apple=2, bread=2, cheese=1)
    finish(services, order["id"])
    (ended,) = books.check()
    assert (ended["status"], ended["payment"]["status"]) == ("cancelled", "voided")
    assert ended["cancellation"] == {"reason": "out_of_stock"}
    assert ended["stock"]["shortages"] == [
        {"productId": "bread", "requested": 2, "available": 1},
        {"productId": "cheese", "requested": 1, "available": 0},
    ]


def test_an_untracked_product_is_no_obstacle_unless_the_policy_is_strict(
    services: Services, place: Place, finish: Finish, books: Books
) -> None:
    lenient, strict = place(ghost=1), place(ghost=1)
    finish(services, lenient["id"])
    finish(with_parts(services, settings=replace(services.settings, stock_policy="strict")), strict["id"])
    assert books.order(lenient["id"])["status"] == "confirmed"
    assert books.order(strict["id"])["cancellation"] == {"reason": "out_of_stock"}


def test_a_confirmed_order_that_is_cancelled_gives_back_the_money_and_the_stock(
    services: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=5)
    order = place(apple=2)
    finish(services, order["id"])
    change_status(services.orders, order["id"], "cancelled", actor="user")
    finish(services, order["id"])
    (ended,) = books.check()
    assert (ended["payment"]["status"], ended["stock"]["status"]) == ("refunded", "restocked")
    assert books.levels() == {"apple": 5}


@pytest.mark.parametrize("times", [2, 5])
def test_every_step_performed_again_and_again_has_one_effect(
    times: int, services: Services, place: Place, stocked: SetStock, books: Books
) -> None:
    stocked(apple=5)
    order = place(apple=2)
    for step in (steps.AUTHORIZE, steps.DECREMENT, steps.CAPTURE):
        for _ in range(times):
            perform(services.orders, step, [order["id"]])
    change_status(services.orders, order["id"], "cancelled", actor="user")
    for step in (steps.RESTOCK, steps.REFUND, steps.VOID):
        for _ in range(times):
            perform(services.orders, step, [order["id"]])
    books.check()
    assert books.levels() == {"apple": 5}


def test_an_order_named_twice_in_a_batch_is_worked_on_once(
    services: Services, place: Place, stocked: SetStock, books: Books
) -> None:
    stocked(apple=5)
    order = place(apple=2)
    for step in (steps.AUTHORIZE, steps.DECREMENT, steps.CAPTURE):
        perform(services.orders, step, [order["id"], order["id"]])
    assert books.check()[0]["status"] == "confirmed"
    assert books.payment(order["id"])["calls"] == 1  # type: ignore[index]


def test_steps_out_of_order_do_nothing_until_it_is_their_turn(
    services: Services, place: Place, stocked: SetStock, books: Books
) -> None:
    stocked(apple=5)
    order = place(apple=2)
    for _ in range(3):
        for step in reversed(steps.STEPS):
            perform(services.orders, step, [order["id"]])
    assert books.check()[0]["status"] == "confirmed"
    assert books.levels() == {"apple": 3}


def test_a_step_for_an_order_that_is_gone_or_never_was_does_nothing(services: Services, books: Books) -> None:
    for step in steps.STEPS:
        perform(services.orders, step, ["0" * 24])
    assert books.payment("0" * 24) is None


def test_a_deleted_order_is_still_paid_back(
    services: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=5)
    order = place(apple=2)
    finish(services, order["id"])
    delete_order(services.orders, order["id"], actor="user")
    finish(services, order["id"])
    books.check()
    assert books.levels() == {"apple": 5}
