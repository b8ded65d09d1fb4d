"""The tasks of beat: late orders expire, and deleted orders are purged after their retention."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.orders import steps, sweeping
from app.orders.processing import perform
from app.orders.service import delete_order
from app.orders.sweeping import expire_orders, purge_deleted_orders, redrive
from tests.support.announcing import announce
from tests.support.damage import damage
from tests.support.doubles import at_once, swept, with_parts

if TYPE_CHECKING:
    import pytest

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

TICK = timedelta(milliseconds=1)
DAY = timedelta(days=1)


def onwards(order_id: str) -> dict[str, list[str]]:
    """The step that a new order owes."""
    return {steps.AUTHORIZE.name: [order_id], steps.ANNOUNCE.name: [order_id]}


def test_an_order_expires_when_its_time_is_over_and_not_a_millisecond_before(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    clock.advance(services.settings.order_expiry)
    assert expire_orders(services.orders) == 0
    clock.advance(TICK)
    assert expire_orders(services.orders) == 1
    assert expire_orders(services.orders) == 0
    finish(services, order_id)
    assert books.check()[0]["cancellation"] == {"reason": "expired"}


def test_a_confirmed_order_never_expires(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    finish(services, order_id)
    clock.advance(365 * DAY)
    assert expire_orders(services.orders) == 0
    assert books.order(order_id)["status"] == "confirmed"


def test_two_beats_at_once_expire_each_order_once(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    ids = [place()["id"] for _ in range(30)]
    clock.advance(services.settings.order_expiry + TICK)
    at_once(*[lambda: expire_orders(services.orders)] * 4)
    finish(services, *ids)
    books.check()


def test_more_late_orders_than_a_batch_holds_all_expire_past_one_that_cannot(
    services: Services,
    clock: StoppedClock,
    place: Place,
    database: OrderDatabase,
    books: Books,
    logged: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 4)
    ids = [place()["id"] for _ in range(11)]
    damage(database, ids[0])
    clock.advance(services.settings.order_expiry + TICK)
    assert expire_orders(services.orders) == 10
    assert {books.order(order_id)["status"] for order_id in ids[1:]} == {"cancelled"}
    assert {line["order_id"] for line in logged if line["log_level"] == "error"} == {ids[0]}


def test_a_deleted_order_stays_for_its_retention_and_goes_with_its_notifications(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    gone, kept = place()["id"], place()["id"]
    delete_order(services.orders, gone, actor="u")
    finish(services, gone, kept)
    announce(services.notifications, [gone, kept])
    clock.advance(services.settings.retention_days * DAY)
    assert purge_deleted_orders(services.orders) == 0
    clock.advance(TICK)
    assert purge_deleted_orders(services.orders) == 1
    assert [order["id"] for order in books.orders()] == [kept]
    assert {record["orderId"] for record in books.notifications()} == {kept}


def test_a_deleted_order_that_still_owes_something_is_not_purged(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    perform(services.orders, steps.AUTHORIZE, [order_id])
    delete_order(services.orders, order_id, actor="u")
    clock.advance(1000 * DAY)
    assert purge_deleted_orders(services.orders) == 0
    finish(services, order_id)
    announce(services.notifications, [order_id])
    assert purge_deleted_orders(services.orders) == 1


def test_no_retention_purges_orders_deleted_before_now(
    services: Services, clock: StoppedClock, place: Place, finish: Finish
) -> None:
    order_id = place()["id"]
    delete_order(services.orders, order_id, actor="u")
    finish(services, order_id)
    announce(services.notifications, [order_id])
    clock.advance(TICK)
    assert (
        purge_deleted_orders(
            with_parts(services, settings=replace(services.settings, retention_days=0)).orders
        )
        == 1
    )


def test_redriving_makes_every_owed_step_due_at_once_and_resets_the_attempts(
    services: Services, place: Place, books: Books
) -> None:
    order_id = place(method="sandbox_unavailable")["id"]
    for _ in range(6):
        perform(services.orders, steps.AUTHORIZE, [order_id])
    assert swept(services) == {}
    assert set(redrive(services.orders, order_id)) == onwards(order_id).keys()
    assert books.document(order_id)["attempts"] == 0
    assert swept(services) == onwards(order_id)


def test_redriving_an_order_that_owes_nothing_or_does_not_exist_changes_nothing(
    services: Services, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    finish(services, order_id)
    announce(services.notifications, [order_id])
    before = books.document(order_id)
    assert redrive(services.orders, order_id) == redrive(services.orders, "0" * 24) == []
    assert books.document(order_id) == before
