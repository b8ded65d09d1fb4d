"""Holds end at their time, and the time of an order to expire begins after its last hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.errors import InvalidInput
from app.holds import service as holding
from app.holds.service import expire_holds
from app.orders import steps, sweeping
from app.orders.service import change_status, place_order
from app.orders.steps import to_send
from app.orders.sweeping import expire_orders
from tests.orders.test_running_on import at_rest, crash, sweep
from tests.support.damage import damage
from tests.support.doubles import Crash, at_once, followed
from tests.support.holding import (
    HOUR,
    LEFT,
    ON_HAND,
    TICK,
    cancellation_of,
    hold,
    release,
    run,
    types,
)
from tests.support.reconciled import differences, reconciled

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place


def test_a_held_order_does_not_expire_and_has_its_whole_time_from_the_last_release_on(
    services: Services, clock: StoppedClock, books: Books, held_id: str, finish: Finish
) -> None:
    expiry = services.settings.order_expiry
    hold(services, held_id, "second", blocks=["ship"])
    clock.advance(365 * 24 * HOUR)
    assert expire_orders(services.orders) == 0
    release(services, held_id)
    clock.advance(expiry + TICK)
    assert expire_orders(services.orders) == 0
    release(services, held_id, "second")
    clock.advance(expiry)
    assert expire_orders(services.orders) == 0
    clock.advance(TICK)
    assert expire_orders(services.orders) == 1
    finish(services, held_id)
    assert books.check()[0]["cancellation"] == {"reason": "expired"}


def test_a_hold_after_a_release_stops_the_expiry_again(
    services: Services, clock: StoppedClock, books: Books, held_id: str
) -> None:
    release(services, held_id)
    hold(services, held_id)
    clock.advance(services.settings.order_expiry * 3)
    assert expire_orders(services.orders) == 0
    assert books.order(held_id)["status"] == "pending"


def test_a_hold_ends_at_its_time_and_not_a_millisecond_before(
    services: Services, clock: StoppedClock, books: Books, order_id: str
) -> None:
    """The capture is then due at once, and the expiry starts anew."""
    until = clock() + HOUR
    hold(services, order_id, until=until)
    run(services, order_id)
    clock.advance(HOUR - TICK)
    assert expire_holds(services.orders) == 0
    clock.advance(TICK)
    assert expire_holds(services.orders) == 1
    assert expire_holds(services.orders) == expire_orders(services.orders) == 0
    order = books.order(order_id)
    assert "holds" not in order
    assert (order["events"][-1]["type"], order["events"][-1]["data"]) == ("hold.expired", {"code": "review"})
    assert steps.CAPTURE.name in to_send(["hold.expired"])
    run(services, order_id, step=steps.CAPTURE)
    assert books.check()[0]["status"] == "confirmed"


@pytest.mark.parametrize("when", ["new", "held", "confirmed"])
def test_a_hold_with_cancel_cancels_the_order_at_its_time(
    when: str, services: Services, clock: StoppedClock, books: Books, order_id: str, finish: Finish
) -> None:
    """With all that is owed: the authorization is voided or the money refunded, and the stock put back."""
    end = {"until": clock() + HOUR, "then": "cancel"}
    if when == "confirmed":
        run(services, order_id)
    hold(services, order_id, **end)
    hold(services, order_id, "another")
    if when == "held":
        run(services, order_id)
    clock.advance(HOUR)
    assert expire_holds(services.orders) == 1
    order = books.order(order_id)
    assert (order["status"], order["cancellation"]) == ("cancelled", {"reason": "expired"})
    assert "holds" not in order
    finish(services, order_id)
    (order,) = books.check()
    assert order["payment"]["status"] == ("refunded" if when == "confirmed" else "voided")
    assert books.levels() == ON_HAND


def test_holds_that_end_together_end_in_one_write(
    services: Services, clock: StoppedClock, books: Books, order_id: str, finish: Finish
) -> None:
    for code in ("a", "b"):
        hold(services, order_id, code, until=clock() + HOUR)
    hold(services, order_id, "c", until=clock() + HOUR, then="cancel")
    hold(services, order_id, "d", until=clock() + 2 * HOUR)
    version = books.order(order_id)["version"]
    clock.advance(HOUR)
    assert expire_holds(services.orders) == 1
    assert types(books, order_id)[version:] == [
        *["hold.expired"] * 3,
        "order.cancelled",
        "stock.released",
    ]
    assert cancellation_of(books, order_id) == "expired"


def test_a_hold_on_a_shipped_order_only_ends(
    services: Services, clock: StoppedClock, books: Books, order_id: str
) -> None:
    run(services, order_id)
    hold(services, order_id, blocks=["capture"], until=clock() + HOUR, then="cancel")
    change_status(services.orders, order_id, "shipped", actor="shop")
    clock.advance(HOUR)
    assert expire_holds(services.orders) == 1
    order = books.order(order_id)
    assert (order["status"], "holds" in order) == ("shipped", False)


def test_delivery_ends_the_remaining_holds(
    services: Services, clock: StoppedClock, books: Books, order_id: str
) -> None:
    run(services, order_id)
    hold(services, order_id, blocks=["capture"], until=clock() + HOUR)
    for status in ("shipped", "delivered"):
        change_status(services.orders, order_id, status, actor="shop")
    assert "holds" not in books.document(order_id)
    clock.advance(HOUR)
    assert expire_holds(services.orders) == 0


def test_a_reconciliation_ends_a_hold_that_nobody_ended(
    services: Services, clock: StoppedClock, books: Books, order_id: str, finish: Finish
) -> None:
    """As beat would have done."""
    hold(services, order_id, until=clock() + HOUR, then="cancel")
    run(services, order_id)
    clock.advance(2 * HOUR)
    report = reconciled(services, repair=True)
    assert {one["kind"]: one["repaired"] for one in differences(services, report)} == {"hold_overdue": True}
    finish(services, order_id)
    assert books.check()[0]["cancellation"] == {"reason": "expired"}
    assert books.levels() == ON_HAND


@pytest.mark.parametrize("then", ["release", "cancel"])
@pytest.mark.parametrize("method", ["held_until", "append_all"])
def test_a_beat_that_dies_while_holds_end_leaves_an_order_that_ends_well(
    method: str, then: str, services: Services, clock: StoppedClock, books: Books, order_id: str
) -> None:
    """Before the write the next tick ends them; after it, a sweep finds all that is owed."""
    hold(services, order_id, until=clock() + HOUR, then=then)
    run(services, order_id)
    clock.advance(HOUR)
    with pytest.raises(Crash):
        expire_holds(followed(services, "orders", method, crash).orders)
    assert expire_holds(services.orders) == (method == "held_until")
    sweep(services, clock)
    (order,) = books.check()
    assert order["status"] == ("confirmed" if then == "release" else "cancelled")
    assert books.levels() == (LEFT if then == "release" else ON_HAND)
    at_rest(books, order_id)


def test_two_beats_at_once_end_each_hold_once(
    services: Services, clock: StoppedClock, place: Place, books: Books
) -> None:
    ids = [place()["id"] for _ in range(30)]
    for order_id in ids:
        hold(services, order_id, until=clock() + HOUR)
    clock.advance(HOUR)
    at_once(*[lambda: expire_holds(services.orders)] * 4)
    for order_id in ids:
        assert types(books, order_id) == ["order.created", "hold.placed", "hold.expired"]


def test_more_holds_than_a_batch_has_all_end_past_an_order_that_cannot(
    services: Services,
    clock: StoppedClock,
    place: Place,
    database: OrderDatabase,
    books: Books,
    logged: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holding, "BATCH", 4)
    ids = [place()["id"] for _ in range(11)]
    for order_id in ids:
        hold(services, order_id, until=clock() + HOUR)
    damage(database, ids[0])
    clock.advance(HOUR)
    assert expire_holds(services.orders) == 10
    assert all("holds" not in books.order(order_id) for order_id in ids[1:])
    assert {line["order_id"] for line in logged if line["log_level"] == "error"} == {ids[0]}


def test_released_orders_expire_past_one_that_cannot(
    services: Services,
    clock: StoppedClock,
    place: Place,
    database: OrderDatabase,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 3)
    ids = [place()["id"] for _ in range(9)]
    for order_id in ids[:6]:
        hold(services, order_id)
        release(services, order_id)
    damage(database, ids[0])
    clock.advance(services.settings.order_expiry + TICK)
    assert expire_orders(services.orders) == 8
    assert {books.order(order_id)["status"] for order_id in ids[1:]} == {"cancelled"}


def test_a_time_that_is_past_is_refused_by_the_services_clock(
    services: Services, clock: StoppedClock, order_id: str
) -> None:
    """A hold that would end now is late, too."""
    with pytest.raises(InvalidInput):
        hold(services, order_id, until=clock())
    with pytest.raises(InvalidInput):
        place_order(
            services.orders,
            {
                "userId": "u",
                "products": [{"productId": "apple", "quantity": 1}],
                "totalAmount": 1,
                "currency": "USD",
                "holds": [{"code": "a", "until": clock()}],
            },
            actor="shop",
            key=None,
            digest="",
        )
