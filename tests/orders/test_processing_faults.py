"""A fault of one order, or of the provider, affects no other order and ends by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.errors import DatabaseUnavailable
from app.orders import steps
from app.orders.processing import perform
from app.orders.service import change_status
from app.orders.sweeping import expire_orders
from app.payments.model import TRY_AGAIN, Charge
from app.payments.steps import charge
from tests.support.damage import NO_EVENTS, damage
from tests.support.doubles import at_once, followed, swept, with_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.mongo.database import OrderDatabase
    from app.payments.model import Outcomes
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place, SetStock

ROAD = (steps.AUTHORIZE, steps.DECREMENT, steps.CAPTURE)


class FaultyProvider:
    """Makes our own code fail on one order, whatever is asked of it."""

    def __init__(self, inner: Any, order_id: str) -> None:
        self._inner = inner
        self._order_id = order_id

    def __getattr__(self, name: str) -> Any:
        def call(charges: Sequence[Charge]) -> Outcomes:
            if any(charge.order_id == self._order_id for charge in charges):
                raise RuntimeError("a fault of ours")
            yield from getattr(self._inner, name)(charges)

        return call


class DownProvider:
    """Answers no call of the methods named; the others are the real one's."""

    def __init__(self, inner: Any, *down: str) -> None:
        self._inner = inner
        self._down = down

    def __getattr__(self, name: str) -> Any:
        return self._no_answer if name in self._down else getattr(self._inner, name)

    def _no_answer(self, charges: Sequence[Charge]) -> Outcomes:
        yield {charge.order_id: TRY_AGAIN for charge in charges}


@pytest.mark.parametrize("step", ROAD, ids=lambda step: step.name)
@pytest.mark.parametrize(
    "change",
    [
        NO_EVENTS,
        {"$unset": {"totalAmount": "", "products": ""}},
        {"$set": {"userId": 7}},
    ],
    ids=["no log", "no lines", "refused by the validator"],
)
def test_one_bad_order_never_spoils_its_batch(
    change: dict[str, Any],
    step: steps.Step,
    services: Services,
    place: Place,
    stocked: SetStock,
    finish: Finish,
    database: OrderDatabase,
    books: Books,
) -> None:
    stocked(apple=50)
    ids = [place(apple=1)["id"] for _ in range(5)]
    for earlier in ROAD[: ROAD.index(step)]:
        perform(services.orders, earlier, ids)
    damage(database, ids[2], change)
    perform(services.orders, step, ids)
    good = [order_id for order_id in ids if order_id != ids[2]]
    assert not any(step.name in books.owed(order_id) for order_id in good)
    finish(services, *good)
    assert {books.order(order_id)["status"] for order_id in good} == {"confirmed"}


@pytest.mark.parametrize("step", [steps.AUTHORIZE, steps.CAPTURE], ids=lambda step: step.name)
def test_a_fault_of_ours_over_one_order_is_logged_and_tried_again_later(
    step: steps.Step,
    services: Services,
    clock: StoppedClock,
    place: Place,
    books: Books,
    logged: list[Any],
) -> None:
    ids = [place()["id"] for _ in range(5)]
    for earlier in ROAD[: ROAD.index(step)]:
        perform(services.orders, earlier, ids)
    faulty = FaultyProvider(services.payments.provider, ids[2])
    perform(with_parts(services, payments=faulty).orders, step, ids)
    assert [line["order_id"] for line in logged if line["log_level"] == "error"] == [ids[2]]
    assert [step.name in books.owed(order_id) for order_id in ids] == [False, False, True, False, False]
    document = books.document(ids[2])
    assert document["attempts"] == 1
    assert document["dueBy"] > clock()


def test_a_provider_that_is_down_is_asked_again_after_ever_longer_waits(
    services: Services, clock: StoppedClock, place: Place, books: Books
) -> None:
    order_id = place(method="sandbox_unavailable")["id"]
    for attempt in range(9):
        perform(services.orders, steps.AUTHORIZE, [order_id])
        document = books.document(order_id)
        assert document["attempts"] == attempt + 1
        middle = min(60.0, 2.0**attempt)
        assert middle * 0.49 < (document["dueBy"] - clock()).total_seconds() < middle * 1.51
        clock.advance(document["dueBy"] - clock())
        assert swept(services)[steps.AUTHORIZE.name] == [order_id]


def test_attempts_count_anew_for_the_next_step(
    services: Services, place: Place, stocked: SetStock, books: Books
) -> None:
    stocked(apple=5)
    order_id = place(method="sandbox_timeout_once")["id"]
    perform(services.orders, steps.AUTHORIZE, [order_id])
    assert books.document(order_id)["attempts"] == 1
    perform(services.orders, steps.AUTHORIZE, [order_id])
    assert books.document(order_id)["attempts"] == 0


@pytest.mark.parametrize("down", ["authorize", "capture"])
def test_a_provider_that_stays_down_lets_the_order_expire_and_leaves_nothing_open_when_it_is_back(
    down: str,
    services: Services,
    clock: StoppedClock,
    place: Place,
    stocked: SetStock,
    finish: Finish,
    books: Books,
) -> None:
    stocked(apple=5)
    order_id = place()["id"]
    broken = with_parts(services, payments=DownProvider(services.payments.provider, down, "void"))
    for step in ROAD:
        perform(broken.orders, step, [order_id])
    clock.advance(services.settings.order_expiry + timedelta(seconds=1))
    assert expire_orders(broken.orders) == 1
    perform(broken.orders, steps.VOID, [order_id])
    assert books.owed(order_id) >= {steps.VOID.name}
    finish(services, order_id)
    (ended,) = books.check()
    assert ended["cancellation"]["reason"] == "expired"
    assert books.levels() == {"apple": 5}


def test_an_authorization_that_turns_up_after_the_expiry_was_settled_cannot_arise(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order = place()
    clock.advance(services.settings.order_expiry + timedelta(seconds=1))
    expire_orders(services.orders)
    finish(services, order["id"])
    (outcomes,) = services.payments.provider.authorize([charge(order)])
    assert outcomes[order["id"]].status == "voided"
    books.check()


def test_an_authorization_in_flight_while_the_order_expires_is_voided(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]

    def expire_and_settle() -> None:
        clock.advance(services.settings.order_expiry + timedelta(seconds=1))
        expire_orders(services.orders)
        finish(services, order_id)

    perform(followed(services, "orders", "load", expire_and_settle).orders, steps.AUTHORIZE, [order_id])
    perform(services.orders, steps.AUTHORIZE, [order_id])
    books.check()
    assert books.payment(order_id)["status"] == "voided"  # type: ignore[index]


def test_an_authorization_that_the_provider_lost_ends_the_order_and_gives_the_stock_back(
    services: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=5)
    order = place()
    perform(services.orders, steps.AUTHORIZE, [order["id"]])
    perform(services.orders, steps.DECREMENT, [order["id"]])
    list(services.payments.provider.void([charge(order)]))
    finish(services, order["id"])
    (ended,) = books.check()
    assert ended["payment"]["failure"]["code"] == "authorization_lost"
    assert ended["cancellation"] == {"reason": "payment_declined"}
    assert books.levels() == {"apple": 5}


def test_an_outage_of_the_database_is_logged_and_blamed_on_no_order(
    services: Services, place: Place, books: Books
) -> None:
    ids = [place()["id"] for _ in range(3)]

    def outage() -> None:
        raise DatabaseUnavailable

    with pytest.raises(DatabaseUnavailable):
        perform(followed(services, "payments", "authorize", outage).orders, steps.AUTHORIZE, ids)
    assert {books.document(order_id)["attempts"] for order_id in ids} == {0}


def test_all_steps_at_once_from_many_workers_amid_cancellations_have_each_effect_once(
    services: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=30, bread=30)
    busy = with_parts(services, clock=now)
    ids = [place(apple=2, bread=1)["id"] for _ in range(20)]

    def work() -> None:
        for step in ROAD * 3 + steps.STEPS:
            perform(busy.orders, step, ids)

    def cancel() -> None:
        for order_id in ids[::3]:
            change_status(busy.orders, order_id, "cancelled", actor="user")

    assert at_once(*[work] * 5, cancel) == [None] * 6
    finish(busy, *ids)
    orders = books.check()
    confirmed = [order for order in orders if order["status"] == "confirmed"]
    assert books.levels() == {"apple": 30 - 2 * len(confirmed), "bread": 30 - len(confirmed)}
    assert all(books.order(order_id)["status"] == "cancelled" for order_id in ids[::3])
