"""The sweep sends again what is overdue, to the queues that are free, and postpones only what it sent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from app.notifications.announce import announce
from app.orders import steps, sweeping
from app.orders.processing import perform
from app.orders.service import change_status
from app.orders.sweeping import all_owed_steps
from tasks import maintenance
from tasks.steps import WAITING_WITH_BEATS, send
from tests.real.doubles import followed, swept

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.shop import Shop
    from tests.real.books import Books
    from tests.real.conftest import Finish, Place, Queues, SetStock
    from tests.real.doubles import StoppedClock

TICK = timedelta(milliseconds=1)


def onwards(order_id: str) -> dict[str, list[str]]:
    """What a new order owes."""
    return {steps.AUTHORIZE.name: [order_id], steps.ANNOUNCE: [order_id]}


def sent_again(shop: Shop, step: str) -> float:
    """How often the step was sent again so far, by this process's metrics."""
    name = f'steps_sent_again_total{{step="{step}"}} '
    lines = shop.metrics.text({}).decode().splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def spoil(database: OrderDatabase, order_id: str) -> None:
    """Makes the order one that the validator refuses and no change can be added to."""
    update = [{"q": {"_id": ObjectId(order_id)}, "u": {"$set": {"events": []}}}]
    database.command("update", "orders", updates=update, bypassDocumentValidation=True)


def test_a_step_is_sent_again_once_per_deadline_and_not_before_it(
    shop: Shop, clock: StoppedClock, place: Place
) -> None:
    order_id = place()["id"]
    clock.advance(shop.settings.step_deadline - TICK)
    assert swept(shop) == {}
    clock.advance(TICK)
    assert swept(shop) == onwards(order_id)
    assert swept(shop) == {}
    clock.advance(shop.settings.step_deadline - TICK)
    assert swept(shop) == {}
    clock.advance(TICK)
    assert swept(shop) == onwards(order_id)


def test_a_step_whose_queue_is_busy_keeps_its_deadline_and_counts_as_sent_when_it_is(
    shop: Shop, clock: StoppedClock, place: Place, books: Books
) -> None:
    order_id = place()["id"]
    announce(shop, [order_id])
    clock.advance(shop.settings.step_deadline)
    due_by = books.document(order_id)["dueBy"]
    before = sent_again(shop, steps.AUTHORIZE.name)
    assert swept(shop, steps.AUTHORIZE.name) == {}
    assert books.document(order_id)["dueBy"] == due_by
    assert sent_again(shop, steps.AUTHORIZE.name) == before
    assert swept(shop) == {steps.AUTHORIZE.name: [order_id]}
    assert books.document(order_id)["dueBy"] == shop.due_by()
    assert sent_again(shop, steps.AUTHORIZE.name) == before + 1


def test_a_step_that_is_due_soon_waits_for_no_busy_queue_of_another_step(
    shop: Shop, clock: StoppedClock, place: Place
) -> None:
    """And the other step is sent as soon as its own queue is free."""
    order_id = place()["id"]
    clock.advance(shop.settings.step_deadline)
    assert swept(shop, steps.ANNOUNCE) == {steps.AUTHORIZE.name: [order_id]}
    assert order_id in swept(shop)[steps.ANNOUNCE]
    assert swept(shop) == {}


def test_orders_whose_queue_is_busy_hold_up_none_behind_them(
    shop: Shop, clock: StoppedClock, place: Place, stocked: SetStock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 4)
    stocked(apple=50)
    busy = [place()["id"] for _ in range(11)]
    announce(shop, busy)
    perform(shop, steps.AUTHORIZE, busy)
    clock.advance(TICK)
    behind = [place()["id"] for _ in range(3)]
    announce(shop, behind)
    clock.advance(shop.settings.step_deadline)
    assert sorted(swept(shop, steps.DECREMENT.name)[steps.AUTHORIZE.name]) == sorted(behind)
    assert swept(shop, steps.DECREMENT.name) == {}
    found = [swept(shop)[steps.DECREMENT.name] for _ in range(3)]
    assert sorted(order_id for ids in found for order_id in ids) == sorted(busy)


def test_what_cannot_be_sent_keeps_its_deadline(
    shop: Shop, clock: StoppedClock, place: Place, books: Books
) -> None:
    order_id = place()["id"]
    clock.advance(shop.settings.step_deadline)
    due_by = books.document(order_id)["dueBy"]

    def fail(_: object) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        sweeping.send_overdue(shop, lambda _: True, fail)
    assert books.document(order_id)["dueBy"] == due_by
    assert swept(shop) == onwards(order_id)


def test_a_retry_that_is_set_while_its_step_is_sent_again_keeps_its_own_time(
    shop: Shop, clock: StoppedClock, place: Place, books: Books
) -> None:
    """The worker may be faster than the sweep that sent for it."""
    order_id = place(method="sandbox_unavailable")["id"]
    announce(shop, [order_id])
    clock.advance(shop.settings.step_deadline)
    sweeping.send_overdue(shop, lambda _: True, lambda _: perform(shop, steps.AUTHORIZE, [order_id]))
    assert books.document(order_id)["dueBy"] < shop.due_by()


def test_beat_asks_which_queues_are_free_and_sends_to_those(
    queues: Queues,
    shop: Shop,
    clock: StoppedClock,
    place: Place,
    stocked: SetStock,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The relay keeps two messages in every queue; a third is the sweep's, and its last."""
    stocked(apple=5)
    waiting, going = place()["id"], place()["id"]
    announce(shop, [waiting, going])
    perform(shop, steps.AUTHORIZE, [going])
    clock.advance(shop.settings.step_deadline)
    due_by = books.document(waiting)["dueBy"]
    monkeypatch.setattr(maintenance, "shop", lambda: shop)
    for _ in range(WAITING_WITH_BEATS):
        send(steps.AUTHORIZE.name, ["0" * 24])

    maintenance.sweep()

    assert queues.take("payments") == [(steps.AUTHORIZE.name, [["0" * 24]])] * WAITING_WITH_BEATS
    assert queues.take("stock") == [(steps.DECREMENT.name, [[going]])]
    assert books.document(waiting)["dueBy"] == due_by
    assert books.document(going)["dueBy"] == shop.due_by()
    for _ in range(WAITING_WITH_BEATS - 1):
        send(steps.AUTHORIZE.name, ["0" * 24])
    maintenance.sweep()
    assert queues.take("payments")[-1] == (steps.AUTHORIZE.name, [[waiting]])


def test_only_what_the_order_owes_now_is_sent_again(
    shop: Shop, clock: StoppedClock, place: Place, stocked: SetStock
) -> None:
    stocked(apple=5)
    order_id = place()["id"]
    announce(shop, [order_id])
    perform(shop, steps.AUTHORIZE, [order_id])
    clock.advance(shop.settings.step_deadline)
    assert swept(shop) == {steps.DECREMENT.name: [order_id]}


def test_an_order_that_owes_nothing_is_forgotten_by_the_sweep(
    shop: Shop, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    # The announcement is recorded between the load and the save of the last step.
    perform(shop, steps.AUTHORIZE, [order_id])
    perform(shop, steps.DECREMENT, [order_id])
    late = followed(shop, "payments", "capture", lambda: announce(shop, [order_id]))
    perform(late, steps.CAPTURE, [order_id])
    announce(shop, [order_id])
    shop.duties.postpone({order_id: clock()})
    assert swept(shop) == {}
    assert "dueBy" not in books.document(order_id)


def test_settling_an_order_that_moved_on_meanwhile_forgets_nothing(
    shop: Shop, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    finish(shop, order_id)
    announce(shop, [order_id])
    shop.duties.postpone({order_id: clock()})
    cancelling = followed(
        shop, "duties", "overdue", lambda: change_status(shop, order_id, "cancelled", actor="u")
    )
    assert swept(cancelling) == {}
    assert books.document(order_id)["dueBy"] == shop.due_by()


def test_one_order_that_its_validator_refuses_does_not_stop_the_sweep(
    shop: Shop, clock: StoppedClock, place: Place, database: OrderDatabase
) -> None:
    ids = [place()["id"] for _ in range(3)]
    spoil(database, ids[1])
    clock.advance(shop.settings.step_deadline)
    assert sorted(swept(shop)[steps.AUTHORIZE.name]) == sorted(ids)
    assert swept(shop) == {}


def test_everything_owed_is_found_page_by_page_whether_overdue_or_not(
    shop: Shop, clock: StoppedClock, place: Place, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 4)
    ids = [place()["id"] for _ in range(10)]
    done = place()["id"]
    finish(shop, done)
    announce(shop, [done])
    found: list[str] = []
    pages, after = 0, None
    while True:
        owed, after = all_owed_steps(shop, after)
        found += owed.get(steps.AUTHORIZE.name, [])
        pages += 1
        if after is None:
            break
    assert (sorted(found), pages) == (sorted(ids), 3)
