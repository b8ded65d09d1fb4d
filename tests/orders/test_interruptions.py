"""A cancellation, the expiry or a crash may come between any two lines: money and stock end in balance."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.orders import steps
from app.orders.processing import perform
from app.orders.service import change_status, delete_order
from app.orders.sweeping import expire_orders
from tests.support.doubles import Crash, followed

if TYPE_CHECKING:
    from app.orders.steps import Step
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place, SetStock

ROAD = (steps.AUTHORIZE, steps.DECREMENT, steps.CAPTURE)
# The collaborator after whose call the interruption comes. A transaction holds the order once it has written
# it: there nobody else can come in between, only a crash.
POINTS = {
    steps.AUTHORIZE: (("orders", "load"), ("payments", "authorize"), ("orders", "append_all")),
    steps.DECREMENT: (("orders", "load"), ("stock", "supply"), ("stock", "move")),
    steps.CAPTURE: (("orders", "load"), ("payments", "capture"), ("orders", "append_all")),
    steps.VOID: (("orders", "load"), ("payments", "void"), ("orders", "append_all")),
    steps.REFUND: (("orders", "load"), ("payments", "refund"), ("orders", "append_all")),
    steps.RESTOCK: (("orders", "load"), ("stock", "move"), ("orders", "append_all")),
}
ON_THE_ROAD = [(step, *point) for step in ROAD for point in POINTS[step]]
ANYWHERE = [(step, *point) for step, points in POINTS.items() for point in points]
LINES: dict[str, Any] = {"apple": 2, "bread": 1}
ON_HAND = {"apple": 5, "bread": 5}
LEFT = {"apple": 3, "bread": 4}


def name(value: Step | str) -> str:
    """How a case reads in the report."""
    return value if isinstance(value, str) else value.name


def up_to(services: Services, step: Step, order_id: str) -> None:
    """Performs the steps before this one, so that it is the next; the ending ones after a cancellation."""
    before = ROAD[: ROAD.index(step)] if step in ROAD else ROAD if step is steps.REFUND else ROAD[:2]
    for earlier in before:
        perform(services.orders, earlier, [order_id])
    if step not in ROAD:
        change_status(services.orders, order_id, "cancelled", actor="user")


@pytest.mark.parametrize(("step", "collaborator", "method"), ON_THE_ROAD, ids=name)
def test_a_cancel_at_any_point_leaves_money_and_stock_where_they_began(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    place: Place,
    stocked: SetStock,
    finish: Finish,
    books: Books,
) -> None:
    stocked(**ON_HAND)
    order_id = place(**LINES)["id"]
    up_to(services, step, order_id)
    cancel = lambda: change_status(services.orders, order_id, "cancelled", actor="user")  # noqa: E731
    perform(followed(services, collaborator, method, cancel).orders, step, [order_id])
    finish(services, order_id)
    (ended,) = books.check()
    assert (ended["status"], ended["cancellation"]["reason"]) == ("cancelled", "requested")
    assert books.levels() == ON_HAND


@pytest.mark.parametrize("step", ROAD, ids=name)
def test_a_cancel_between_two_steps_leaves_money_and_stock_where_they_began(
    step: Step, services: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(**ON_HAND)
    order_id = place(**LINES)["id"]
    up_to(services, step, order_id)
    delete_order(services.orders, order_id, actor="user")
    perform(services.orders, step, [order_id])
    finish(services, order_id)
    assert books.check()[0]["status"] == "cancelled"
    assert books.levels() == ON_HAND


@pytest.mark.parametrize(("step", "collaborator", "method"), ON_THE_ROAD, ids=name)
def test_expiry_at_any_point_ends_the_order_or_comes_too_late(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    clock: StoppedClock,
    place: Place,
    stocked: SetStock,
    finish: Finish,
    books: Books,
) -> None:
    stocked(**ON_HAND)
    order_id = place(**LINES)["id"]
    up_to(services, step, order_id)
    clock.advance(services.settings.order_expiry + timedelta(milliseconds=1))
    perform(
        followed(services, collaborator, method, lambda: expire_orders(services.orders)).orders,
        step,
        [order_id],
    )
    finish(services, order_id)
    (ended,) = books.check()
    if (step, method) == (steps.CAPTURE, "append_all"):
        assert (ended["status"], books.levels()) == ("confirmed", LEFT)
    else:
        assert (ended["cancellation"]["reason"], books.levels()) == ("expired", ON_HAND)


@pytest.mark.parametrize(("step", "collaborator", "method"), ANYWHERE, ids=name)
def test_a_crash_at_any_point_is_repaired_by_doing_the_step_again(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    place: Place,
    stocked: SetStock,
    finish: Finish,
    books: Books,
) -> None:
    stocked(**ON_HAND)
    order_id = place(**LINES)["id"]
    up_to(services, step, order_id)
    with pytest.raises(Crash):
        perform(followed(services, collaborator, method, crash).orders, step, [order_id])
    perform(services.orders, step, [order_id])
    finish(services, order_id)
    (ended,) = books.check()
    assert ended["status"] == ("confirmed" if step in ROAD else "cancelled")
    assert books.levels() == (LEFT if step in ROAD else ON_HAND)


@pytest.mark.parametrize(("step", "collaborator", "method"), ON_THE_ROAD, ids=name)
def test_a_crash_that_is_found_only_after_the_expiry_leaves_nothing_open(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    clock: StoppedClock,
    place: Place,
    stocked: SetStock,
    finish: Finish,
    books: Books,
) -> None:
    stocked(**ON_HAND)
    order_id = place(**LINES)["id"]
    up_to(services, step, order_id)
    with pytest.raises(Crash):
        perform(followed(services, collaborator, method, crash).orders, step, [order_id])
    clock.advance(services.settings.order_expiry + timedelta(milliseconds=1))
    expire_orders(services.orders)
    finish(services, order_id)
    confirmed = books.check()[0]["status"] == "confirmed"
    assert books.levels() == (LEFT if confirmed else ON_HAND)
    assert confirmed == ((step, method) == (steps.CAPTURE, "append_all"))


def crash() -> None:
    """Dies."""
    raise Crash
