"""However a payment was moved at the provider, the order follows it, and does so once."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.orders import steps
from app.orders.processing import perform
from app.orders.service import change_status
from app.payments.align import AGREED, LEFT, WAITING, align
from app.payments.model import Repayment
from app.payments.steps import charge
from app.refunds.service import request_refund
from tests.support.doubles import at_once, with_parts
from tests.support.outside import TOTAL, Outside, end

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Finish, Place


def types(books: Books, order: Order) -> list[str]:
    """The types of the order's events."""
    return [event["type"] for event in books.order(order["id"])["events"]]


def test_an_order_that_agrees_stays_as_it_is(
    services: Services, place: Place, finish: Finish, books: Books
) -> None:
    order = place()
    finish(services, order["id"])
    before = books.document(order["id"])
    assert [align(services.payments, books.order(order["id"])) for _ in range(3)] == [AGREED] * 3
    assert books.document(order["id"]) == before
    books.check()


def test_an_authorization_that_we_have_not_heard_of_is_taken_up(
    services: Services, place: Place, outside: Outside, books: Books, finish: Finish
) -> None:
    """The worker died between the provider's answer and its own write; the event comes first."""
    order = place(method="sandbox_unavailable")
    outside.make(order, "authorized")
    assert align(services.payments, order) == "authorized"
    assert types(books, order) == ["order.created", "payment.authorized"]
    finish(services, order["id"])
    assert books.check()[0]["status"] == "confirmed"


def test_a_payment_captured_outside_confirms_the_order_once_its_stock_is_taken(
    services: Services, place: Place, outside: Outside, books: Books, finish: Finish
) -> None:
    order = place()
    perform(services.orders, steps.AUTHORIZE, [order["id"]])
    outside.capture(order)
    assert align(services.payments, books.order(order["id"])) == WAITING
    perform(services.orders, steps.DECREMENT, [order["id"]])
    assert align(services.payments, books.order(order["id"])) == AGREED
    (ended,) = books.check()
    assert ended["status"] == "confirmed"


def test_a_payment_captured_before_we_knew_of_any_goes_the_usual_road(
    services: Services, place: Place, outside: Outside, books: Books, finish: Finish
) -> None:
    order = place()
    outside.make(order, "captured", captured=TOTAL)
    assert align(services.payments, order) == WAITING
    finish(services, order["id"])
    assert align(services.payments, books.order(order["id"])) == AGREED
    assert books.check()[0]["status"] == "confirmed"


@pytest.mark.parametrize("status", ["voided", "declined"])
def test_an_authorization_cancelled_outside_ends_the_order(
    status: str, services: Services, place: Place, outside: Outside, books: Books, finish: Finish
) -> None:
    order = place()
    perform(services.orders, steps.AUTHORIZE, [order["id"]])
    outside.make(order, status)
    assert align(services.payments, books.order(order["id"])) == WAITING
    perform(services.orders, steps.DECREMENT, [order["id"]])
    assert align(services.payments, books.order(order["id"])) == AGREED
    finish(services, order["id"])
    (ended,) = books.check()
    assert ended["payment"]["failure"]["code"] == "authorization_lost"


def test_the_authorization_of_a_cancelled_order_is_voided(
    services: Services, place: Place, outside: Outside, books: Books
) -> None:
    order = place()
    perform(services.orders, steps.AUTHORIZE, [order["id"]])
    change_status(services.orders, order["id"], "cancelled", actor="user")
    assert align(services.payments, books.order(order["id"])) == AGREED
    assert books.check()[0]["payment"]["status"] == "voided"


@pytest.mark.parametrize("known", [False, True], ids=["payment pending", "payment authorized"])
def test_money_taken_for_a_cancelled_order_goes_back_by_its_log(
    known: bool, services: Services, place: Place, outside: Outside, books: Books
) -> None:
    order = place()
    if known:
        perform(services.orders, steps.AUTHORIZE, [order["id"]])
    change_status(services.orders, order["id"], "cancelled", actor="user")
    outside.make(order, "captured", captured=TOTAL)
    assert align(services.payments, books.order(order["id"])) == AGREED
    (ended,) = books.check()
    assert ended["payment"]["status"] == "refunded"
    assert types(books, order)[-3:] == ["refund.requested", "refund.succeeded", "payment.refunded"]


@pytest.mark.parametrize("given", [300, TOTAL])
def test_a_refund_made_at_the_provider_is_recorded_once(
    given: int, services: Services, place: Place, finish: Finish, outside: Outside, books: Books
) -> None:
    order = place()
    finish(services, order["id"])
    outside.refund(order, given)
    assert align(services.payments, books.order(order["id"])) == "refunded outside"
    assert align(services.payments, books.order(order["id"])) == AGREED
    after = books.order(order["id"])
    assert (after["status"], after["payment"]["refundedAmount"]) == ("confirmed", given)
    assert after["payment"]["status"] == ("refunded" if given == TOTAL else "partially_refunded")
    assert {event["actor"] for event in after["events"][-3:]} == {"provider"}
    (refund,) = after["refunds"]
    assert (refund["status"], refund["amount"]) == ("succeeded", given)


def test_refunds_of_ours_are_not_taken_for_others(
    services: Services, place: Place, finish: Finish, outside: Outside, books: Books
) -> None:
    """One has come to its end, one is done at the provider only, and one was made there."""
    order = place()
    finish(services, order["id"])
    for amount in (100, 200):
        wanted = {"amount": Decimal(amount) / 100}
        asked = request_refund(services.orders, order["id"], wanted, actor="a", key=None, digest="")  # type: ignore[arg-type]
        if amount == 100:
            finish(services, order["id"])
    list(services.payments.provider.refund([Repayment(charge(order), asked.refund["id"], 1, 200)]))
    outside.refund(order, 50)
    assert align(services.payments, books.order(order["id"])) == "refunded outside"
    after = books.order(order["id"])
    assert [refund["amount"] for refund in after["refunds"]] == [100, 200, 50]
    assert after["payment"]["refundedAmount"] == 350 == books.payment(order["id"])["refunded"]  # type: ignore[index]


def test_a_refund_of_ours_for_which_too_little_is_left_fails_and_the_other_is_recorded(
    services: Services, place: Place, finish: Finish, outside: Outside, books: Books
) -> None:
    order = place()
    finish(services, order["id"])
    request_refund(services.orders, order["id"], {"amount": Decimal(8)}, actor="a", key=None, digest="")
    outside.refund(order, 500)
    assert align(services.payments, books.order(order["id"])) == "refunded outside"
    after = books.order(order["id"])
    assert [(refund["status"], refund["amount"]) for refund in after["refunds"]] == [
        ("failed", 800),
        ("succeeded", 500),
    ]
    assert after["payment"]["refundedAmount"] == 500


@pytest.mark.parametrize("authorized", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
def test_money_taken_and_given_back_before_we_knew_ends_the_order_in_balance(
    authorized: bool,
    cancelled: bool,
    services: Services,
    place: Place,
    finish: Finish,
    outside: Outside,
    books: Books,
) -> None:
    order = place()
    if authorized:
        perform(services.orders, steps.AUTHORIZE, [order["id"]])
    if cancelled:
        change_status(services.orders, order["id"], "cancelled", actor="user")
    outside.make(order, "refunded", captured=TOTAL, refunded=TOTAL)
    assert align(services.payments, books.order(order["id"])) == "taken and given back"
    finish(services, order["id"])
    (ended,) = books.check()
    assert (ended["status"], ended["payment"]["status"]) == ("cancelled", "refunded")


def test_a_captured_payment_that_the_provider_does_not_know_is_left_to_a_person(
    services: Services, place: Place, finish: Finish, books: Books, database: OrderDatabase
) -> None:
    order = place()
    finish(services, order["id"])
    database["sandbox_payments"].delete_many({})
    assert align(services.payments, books.order(order["id"])) == LEFT


def test_many_that_align_at_once_amid_the_workers_give_back_once(
    services: Services, place: Place, finish: Finish, outside: Outside, books: Books
) -> None:
    busy = with_parts(services, clock=now)
    dead, alive = end(busy, place(), "payment.voided"), place()
    finish(busy, alive["id"])
    outside.make(dead, "captured", captured=TOTAL)
    outside.refund(alive, 300)

    def work() -> None:
        for order in (dead, alive):
            align(busy.payments, busy.orders.store.load([order["id"]])[0])
            for step in steps.STEPS:
                perform(busy.orders, step, [order["id"]])

    assert at_once(*[work] * 8) == [None] * 8
    payment: Any = books.payment(dead["id"])
    assert (payment["captured"], payment["refunded"], len(payment["refunds"])) == (TOTAL, TOTAL, 1)
    after = books.order(alive["id"])
    assert (after["payment"]["refundedAmount"], len(after["refunds"])) == (300, 1)
