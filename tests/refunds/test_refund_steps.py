"""Refunds behind the scenes: money goes back once and goods come back once, whatever comes in between."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import IllegalTransition, OrderServiceError
from app.orders import steps
from app.orders.processing import perform
from app.orders.service import change_status
from app.refunds.service import request_refund, retry_refund
from tests.support.doubles import Crash, at_once, followed

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.orders.model import Order
    from app.orders.refunds import Refund
    from app.orders.steps import Step
    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Finish, Place, SetStock

TOTAL = 1000
ON_HAND = {"apple": 10, "bread": 10}
BACK: dict[str, Any] = {
    "amount": 3,
    "products": [
        {"productId": "apple", "quantity": 2, "restock": True},
        {"productId": "bread", "quantity": 1, "restock": False},
    ],
}
POINTS = {
    steps.REFUND: (("orders", "load"), ("payments", "refund"), ("orders", "append_all")),
    steps.RESTOCK_REFUNDED: (("orders", "load"), ("stock", "move"), ("orders", "append_all")),
}
# A transaction that has written the order lets nobody else come in between, only a crash.
ANYWHERE = [(step, *point) for step, points in POINTS.items() for point in points]
BETWEEN = [case for case in ANYWHERE if case[0] is steps.REFUND or case[2] != "append_all"]


def name(value: Step | str) -> str:
    """How a case reads in the report."""
    return value if isinstance(value, str) else value.name


def ask(services: Services, order_id: str, **draft: Any) -> Refund:
    """Asks for a refund; amounts in major units."""
    if "amount" in draft:
        draft["amount"] = Decimal(draft["amount"])
    return request_refund(services.orders, order_id, draft, actor="services", key=None, digest="").refund  # type: ignore[arg-type]


@pytest.fixture
def confirmed(services: Services, place: Place, stocked: SetStock, finish: Finish) -> Callable[..., str]:
    """Places an order of three apples and two breads and takes it to `confirmed`; its id."""

    def make(method: str | None = None) -> str:
        stocked(**ON_HAND)
        order_id = place(method=method, total=TOTAL, apple=3, bread=2)["id"]
        finish(services, order_id)
        return order_id

    return make


def up_to(services: Services, step: Step, order_id: str) -> None:
    """Performs the refund itself, where the step is the one after it."""
    if step is steps.RESTOCK_REFUNDED:
        perform(services.orders, steps.REFUND, [order_id])


@pytest.mark.parametrize(("step", "collaborator", "method"), ANYWHERE, ids=name)
def test_a_crash_at_any_point_of_a_refund_is_repaired_by_doing_the_step_again(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    confirmed: Callable[..., str],
    finish: Finish,
    books: Books,
) -> None:
    def crash() -> None:
        raise Crash

    order_id = confirmed()
    ask(services, order_id, **BACK)
    up_to(services, step, order_id)
    with pytest.raises(Crash):
        perform(followed(services, collaborator, method, crash).orders, step, [order_id])
    finish(services, order_id)
    (order,) = books.check()
    assert order["payment"]["refundedAmount"] == 300
    assert books.levels() == {"apple": 9, "bread": 8}


@pytest.mark.parametrize(("step", "collaborator", "method"), BETWEEN, ids=name)
def test_a_cancel_at_any_point_of_a_refund_gives_back_the_rest_and_no_more(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    confirmed: Callable[..., str],
    finish: Finish,
    books: Books,
) -> None:
    order_id = confirmed()
    ask(services, order_id, **BACK)
    up_to(services, step, order_id)
    cancel = lambda: change_status(services.orders, order_id, "cancelled", actor="user")  # noqa: E731
    perform(followed(services, collaborator, method, cancel).orders, step, [order_id])
    finish(services, order_id)
    (order,) = books.check()
    assert order["status"] == "cancelled"
    assert books.levels() == ON_HAND


def test_every_step_of_a_refund_may_be_done_by_several_workers_at_once(
    services: Services, confirmed: Callable[..., str], finish: Finish, books: Books
) -> None:
    order_id = confirmed()
    ask(services, order_id, **BACK)
    for step in POINTS:
        at_once(*[lambda step=step: perform(services.orders, step, [order_id])] * 6)
    finish(services, order_id)
    (order,) = books.check()
    assert order["payment"]["refundedAmount"] == 300
    assert books.levels() == {"apple": 9, "bread": 8}


def test_refunds_and_cancels_at_once_never_give_back_more_than_was_taken(
    services: Services, confirmed: Callable[..., str], finish: Finish, books: Books
) -> None:
    order_id = confirmed()
    results = at_once(
        *[lambda: ask(services, order_id, amount=3)] * 6,
        *[lambda: change_status(services.orders, order_id, "cancelled", actor="user")] * 2,
    )
    refusals = [result for result in results if isinstance(result, Exception)]
    assert all(isinstance(refusal, OrderServiceError) for refusal in refusals), refusals
    finish(services, order_id)
    (order,) = books.check()
    assert (order["status"], order["payment"]["refundedAmount"]) == ("cancelled", TOTAL)


def test_several_refunds_of_an_order_come_to_their_end_in_one_write(
    services: Services, confirmed: Callable[..., str], books: Books
) -> None:
    order_id = confirmed()
    for _ in range(3):
        ask(services, order_id, amount=2)
    before = books.order(order_id)["version"]
    perform(services.orders, steps.REFUND, [order_id])
    added = books.order(order_id)["events"][before:]
    assert [event["type"] for event in added] == ["refund.succeeded"] * 3 + ["payment.partially_refunded"]
    assert added[-1]["data"] == {"refundedAmount": 600}


def test_a_refund_that_fails_holds_up_no_other(
    services: Services, confirmed: Callable[..., str], finish: Finish, books: Books
) -> None:
    order_id = confirmed("sandbox_refund_fails_once")
    first = ask(services, order_id, amount=2)
    perform(services.orders, steps.REFUND, [order_id])
    second = ask(services, order_id, amount=3)
    perform(services.orders, steps.REFUND, [order_id])
    retry_refund(services.orders, order_id, first["id"], actor="services")
    retry_refund(services.orders, order_id, second["id"], actor="services")
    finish(services, order_id)
    assert books.order(order_id)["payment"]["refundedAmount"] == 500


def test_a_failed_refund_of_a_cancelled_order_stays_visible_and_can_be_tried_again(
    services: Services, confirmed: Callable[..., str], finish: Finish, books: Books
) -> None:
    order_id = confirmed("sandbox_refund_fails_once")
    change_status(services.orders, order_id, "cancelled", actor="user")
    finish(services, order_id)
    (refund,) = books.order(order_id)["refunds"]
    assert (refund["status"], refund["failure"]["code"]) == ("failed", "refund_declined")
    retry_refund(services.orders, order_id, refund["id"], actor="services")
    finish(services, order_id)
    books.check()


def test_a_failed_refund_puts_no_goods_back(
    services: Services, confirmed: Callable[..., str], finish: Finish, books: Books
) -> None:
    order_id = confirmed("sandbox_refund_fails_once")
    ask(services, order_id, **BACK)
    finish(services, order_id)
    assert books.levels() == {"apple": 7, "bread": 8}


def test_goods_that_were_never_tracked_do_not_appear_in_the_stock(
    services: Services, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place(total=TOTAL, apple=3, bread=2)["id"]
    finish(services, order_id)
    ask(services, order_id, **BACK)
    finish(services, order_id)
    assert books.movements() == []
    assert books.order(order_id)["refunds"][0]["restocked"]


def test_a_shipped_order_can_be_refunded_and_cannot_be_cancelled(
    services: Services, confirmed: Callable[..., str], finish: Finish, books: Books
) -> None:
    order_id = confirmed()
    change_status(services.orders, order_id, "shipped", actor="services")
    ask(services, order_id)
    with pytest.raises(IllegalTransition):
        change_status(services.orders, order_id, "cancelled", actor="services")
    finish(services, order_id)
    (order,) = books.check()
    assert (order["status"], order["payment"]["status"]) == ("shipped", "refunded")


def test_an_order_that_cost_nothing_is_refunded_when_it_is_cancelled(
    services: Services, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place(total=0)["id"]
    finish(services, order_id)
    change_status(services.orders, order_id, "cancelled", actor="user")
    finish(services, order_id)
    order: Order = books.order(order_id)
    assert (order["payment"]["status"], order["payment"]["refundedAmount"]) == ("refunded", 0)
