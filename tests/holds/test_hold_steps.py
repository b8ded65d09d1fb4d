"""Holds and steps: no capture begins under a hold, and whatever comes in between, all ends well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.errors import NothingToHold, TooManyHolds
from app.orders import steps
from app.orders.service import change_status, place_order
from app.orders.steps import to_send
from tests.orders.test_running_on import BETWEEN, at_rest, crash, name, sweep
from tests.orders.test_running_on import after as after_call
from tests.support.doubles import Crash, at_once, followed
from tests.support.holding import (
    BLOCKS,
    HOUR,
    LEFT,
    ON_HAND,
    hold,
    release,
    run,
    types,
)
from tests.support.reconciled import differences, reconciled, whose

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.outside import Outside, ProviderEvents
    from tests.support.service_fixtures import Finish, Place, SetStock


def test_a_held_order_is_authorized_and_takes_its_stock_and_then_waits(
    services: Services, books: Books, held_id: str
) -> None:
    """It owes nothing, so no sweep reads it."""
    run(services, held_id)
    order = books.order(held_id)
    assert (order["status"], order["payment"]["status"], order["stock"]["status"]) == (
        "pending",
        "authorized",
        "decremented",
    )
    assert books.levels() == LEFT
    assert steps.due(order) == []
    assert "dueBy" not in books.document(held_id)
    assert books.payment(held_id)["captured"] == 0  # type: ignore[index]


def test_the_last_release_sets_the_capture_in_motion_at_once(
    services: Services, books: Books, held_id: str
) -> None:
    hold(services, held_id, "second", blocks=["ship"])
    hold(services, held_id, "third")
    run(services, held_id)
    release(services, held_id, "third")
    assert steps.CAPTURE.name not in steps.due(books.order(held_id))
    released = release(services, held_id)
    assert steps.CAPTURE.name in steps.due(released)
    assert steps.CAPTURE.name in to_send(["hold.released"])
    assert "dueBy" in books.document(held_id)
    run(services, held_id, step=steps.CAPTURE)
    order = books.order(held_id)
    assert (order["status"], [hold["code"] for hold in order["holds"]]) == ("confirmed", ["second"])
    books.check()


def test_a_hold_that_blocks_shipping_alone_does_not_delay_the_payment(
    services: Services, books: Books, order_id: str
) -> None:
    hold(services, order_id, blocks=["ship"])
    run(services, order_id)
    assert books.check()[0]["status"] == "confirmed"


@pytest.mark.parametrize("call", BETWEEN, ids=name)
def test_a_hold_anywhere_in_a_run_is_obeyed_or_too_late_and_the_order_tells_which(
    call: tuple[str, str, int], services: Services, clock: StoppedClock, books: Books, order_id: str
) -> None:
    """Before the call of the provider it counts; after it the capture is recorded, and the hold stays."""
    captured_before: list[bool] = []

    def place() -> None:
        payment = books.payment(order_id)
        captured_before.append(bool(payment and payment["captured"]))
        hold(services, order_id)

    run(after_call(services, call, place), order_id)
    sweep(services, clock)
    order, payment = books.order(order_id), books.payment(order_id)
    assert payment is not None
    assert bool(payment["captured"]) == captured_before[0]
    assert order["status"] == ("confirmed" if payment["captured"] else "pending")
    assert order["payment"]["status"] == ("captured" if payment["captured"] else "authorized")
    assert [one["code"] for one in order["holds"]] == ["review"]
    assert steps.due(order) == []
    assert books.levels() == LEFT
    release(services, order_id)
    run(services, order_id, step=steps.CAPTURE)
    sweep(services, clock)
    books.check()
    at_rest(books, order_id)
    assert types(books, order_id).count("payment.captured") == 1


def test_a_capture_that_is_in_flight_when_the_hold_is_written_is_recorded(
    services: Services, books: Books, order_id: str
) -> None:
    """After the last look at the holds, and before the provider is asked."""
    late = followed(services, "orders", "held_from_capture", lambda: hold(services, order_id))
    run(late, order_id)
    (order,) = books.check()
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert order["holds"]


@pytest.fixture
def in_doubt(services: Services, books: Books, order_id: str) -> str:
    """An order that was captured by a worker that died, and held before that was recorded."""

    def die() -> None:
        hold(services, order_id)
        raise Crash

    with pytest.raises(Crash):
        run(followed(services, "payments", "capture", die), order_id)
    assert books.order(order_id)["payment"]["status"] == "authorized"
    assert books.payment(order_id)["captured"]  # type: ignore[index]
    return order_id


def test_a_capture_of_a_dead_worker_is_recorded_at_the_release(
    services: Services, books: Books, in_doubt: str
) -> None:
    release(services, in_doubt)
    run(services, in_doubt, step=steps.CAPTURE)
    assert books.check()[0]["status"] == "confirmed"


def test_or_by_the_event_of_the_provider_while_the_hold_stays(
    services: Services, books: Books, in_doubt: str, provider_events: ProviderEvents
) -> None:
    provider_events.post(in_doubt)
    provider_events.work()
    assert provider_events.ends() == {"done": 1}
    (order,) = books.check()
    assert order["status"] == "confirmed"
    assert order["holds"]


def test_or_by_a_reconciliation_with_repairs(
    services: Services, books: Books, in_doubt: str, clock: StoppedClock
) -> None:
    clock.advance(HOUR)
    report = reconciled(services, repair=True)
    found = {one["kind"]: one for one in differences(services, report)}["payment_ahead"]
    assert (whose(found), found["repaired"]) == (in_doubt, True)
    (order,) = books.check()
    assert (order["status"], "holds" in order) == ("confirmed", True)


def test_or_the_money_is_given_back_when_the_order_is_cancelled(
    services: Services, books: Books, in_doubt: str, finish: Finish
) -> None:
    change_status(services.orders, in_doubt, "cancelled", actor="shop")
    finish(services, in_doubt)
    books.check()
    assert books.levels() == ON_HAND


@pytest.mark.parametrize("how", ["release", "event", "reconciliation"])
def test_an_order_held_until_its_authorization_has_ended_ends_well(
    how: str,
    services: Services,
    clock: StoppedClock,
    books: Books,
    held_id: str,
    outside: Outside,
    provider_events: ProviderEvents,
    finish: Finish,
) -> None:
    """At the release, or as soon as the provider says so or is asked."""
    run(services, held_id)
    outside.make(books.order(held_id), "voided")
    if how == "release":
        release(services, held_id)
    elif how == "reconciliation":
        clock.advance(HOUR)
        reconciled(services, repair=True)
    else:
        provider_events.post(held_id, "payment.voided")
        provider_events.work()
    finish(services, held_id)
    (order,) = books.check()
    assert (order["status"], order["cancellation"]["reason"]) == ("cancelled", "payment_declined")
    assert (order["payment"]["status"], order["stock"]["status"]) == ("voided", "restocked")
    assert "holds" not in order
    assert books.levels() == ON_HAND


@pytest.mark.parametrize("method", ["with_tail", "append"])
def test_a_web_process_that_dies_at_a_release_has_released_or_not(
    method: str, services: Services, clock: StoppedClock, books: Books, held_id: str
) -> None:
    run(services, held_id)
    with pytest.raises(Crash):
        release(followed(services, "orders", method, crash), held_id)
    sweep(services, clock)
    order = books.order(held_id)
    assert order["status"] == ("confirmed" if method == "append" else "pending")
    assert ("holds" in order) == (method == "with_tail")


def test_of_many_holds_at_once_twenty_are_taken_and_each_code_once(
    services: Services, books: Books, order_id: str
) -> None:
    works: list[Callable[[], Any]] = [
        lambda code=code: hold(services, order_id, code)  # type: ignore[misc]
        for code in [f"hold_{number}" for number in range(24)] * 2
    ]
    results = at_once(*works)
    assert {type(result) for result in results} == {dict, TooManyHolds}
    codes = [one["code"] for one in books.order(order_id)["holds"]]
    assert len(codes) == len(set(codes)) == 20
    assert types(books, order_id).count("hold.placed") == 20


def test_a_hold_and_a_cancellation_at_once_leave_no_hold_on_an_ended_order(
    services: Services, place: Place, books: Books
) -> None:
    for order_id in [place()["id"] for _ in range(20)]:
        placed, _ = at_once(
            lambda order_id=order_id: hold(services, order_id),
            lambda order_id=order_id: change_status(services.orders, order_id, "cancelled", actor="user"),
        )
        assert isinstance(placed, dict | NothingToHold)
        order = books.order(order_id)
        assert (order["status"], "holds" in order) == ("cancelled", False)


def test_orders_that_are_held_from_their_first_write_are_never_captured(
    services: Services, books: Books, stocked: SetStock, clock: StoppedClock
) -> None:
    """However many workers take them at once."""
    stocked(apple=1_000)
    draft: Any = {
        "userId": "u", "products": [{"productId": "apple", "quantity": 1}], "totalAmount": 100,
        "currency": "USD", "holds": [{"code": "review", "blocks": BLOCKS, "then": "release"}],
    }  # fmt: skip
    ids = [
        place_order(services.orders, draft, actor="shop", key=None, digest="").order["id"] for _ in range(100)
    ]
    at_once(*[lambda: run(services, *ids)] * 3)
    sweep(services, clock)
    for order in books.orders():
        assert order["payment"]["status"] == "authorized"
        assert [event["type"] for event in order["events"]].count("payment.captured") == 0
    assert not any(books.payment(order_id)["captured"] for order_id in ids)  # type: ignore[index]
