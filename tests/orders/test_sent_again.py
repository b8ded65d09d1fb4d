"""The sweep sends again what is overdue, to the queues that are free, and postpones only what it sent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.orders import steps, sweeping
from app.orders.processing import perform
from app.orders.service import change_status
from app.orders.sweeping import all_owed_steps
from tasks import maintenance
from tasks.steps import WAITING_WITH_BEATS, send
from tests.support.announcing import announce
from tests.support.damage import damage
from tests.support.doubles import followed, swept

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place, Queues, SetStock

TICK = timedelta(milliseconds=1)


def onwards(order_id: str) -> dict[str, list[str]]:
    """The step that a new order owes."""
    return {steps.AUTHORIZE.name: [order_id], steps.ANNOUNCE.name: [order_id]}


def sent_again(services: Services, step: str) -> float:
    """How often the step was sent again so far, by this process's metrics."""
    name = f'steps_sent_again_total{{step="{step}"}} '
    lines = services.metrics.text({}).decode().splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_step_is_sent_again_once_per_deadline_and_not_before_it(
    services: Services, clock: StoppedClock, place: Place
) -> None:
    order_id = place()["id"]
    clock.advance(services.settings.step_deadline - TICK)
    assert swept(services) == {}
    clock.advance(TICK)
    assert swept(services) == onwards(order_id)
    assert swept(services) == {}
    clock.advance(services.settings.step_deadline - TICK)
    assert swept(services) == {}
    clock.advance(TICK)
    assert swept(services) == onwards(order_id)


def test_a_step_whose_queue_is_busy_keeps_its_deadline_and_counts_as_sent_when_it_is(
    services: Services, clock: StoppedClock, place: Place, books: Books
) -> None:
    order_id = place()["id"]
    announce(services.notifications, [order_id])
    clock.advance(services.settings.step_deadline)
    due_by = books.document(order_id)["dueBy"]
    before = sent_again(services, steps.AUTHORIZE.name)
    assert swept(services, steps.AUTHORIZE.name) == {}
    assert books.document(order_id)["dueBy"] == due_by
    assert sent_again(services, steps.AUTHORIZE.name) == before
    assert swept(services) == {steps.AUTHORIZE.name: [order_id]}
    assert books.document(order_id)["dueBy"] == services.orders.due_by()
    assert sent_again(services, steps.AUTHORIZE.name) == before + 1


def test_a_step_that_is_due_soon_waits_for_no_busy_queue_of_another_step(
    services: Services, clock: StoppedClock, place: Place
) -> None:
    """And the other step is sent as soon as its own queue is free."""
    order_id = place()["id"]
    clock.advance(services.settings.step_deadline)
    assert swept(services, steps.ANNOUNCE.name) == {steps.AUTHORIZE.name: [order_id]}
    assert order_id in swept(services)[steps.ANNOUNCE.name]
    assert swept(services) == {}


def test_orders_whose_queue_is_busy_delay_no_orders_behind_them(
    services: Services, clock: StoppedClock, place: Place, stocked: SetStock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 4)
    stocked(apple=50)
    busy = [place()["id"] for _ in range(11)]
    announce(services.notifications, busy)
    perform(services.orders, steps.AUTHORIZE, busy)
    clock.advance(TICK)
    behind = [place()["id"] for _ in range(3)]
    announce(services.notifications, behind)
    clock.advance(services.settings.step_deadline)
    assert sorted(swept(services, steps.DECREMENT.name)[steps.AUTHORIZE.name]) == sorted(behind)
    assert swept(services, steps.DECREMENT.name) == {}
    found = [swept(services)[steps.DECREMENT.name] for _ in range(3)]
    assert sorted(order_id for ids in found for order_id in ids) == sorted(busy)


def test_a_step_that_cannot_be_sent_keeps_its_deadline(
    services: Services, clock: StoppedClock, place: Place, books: Books
) -> None:
    order_id = place()["id"]
    clock.advance(services.settings.step_deadline)
    due_by = books.document(order_id)["dueBy"]

    def fail(_: object) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        sweeping.send_overdue(services.orders, lambda _: True, fail)
    assert books.document(order_id)["dueBy"] == due_by
    assert swept(services) == onwards(order_id)


def test_a_retry_that_is_set_while_its_step_is_sent_again_keeps_its_own_time(
    services: Services, clock: StoppedClock, place: Place, books: Books
) -> None:
    """The worker may be faster than the sweep that sent for it."""
    order_id = place(method="sandbox_unavailable")["id"]
    announce(services.notifications, [order_id])
    clock.advance(services.settings.step_deadline)
    sweeping.send_overdue(
        services.orders, lambda _: True, lambda _: perform(services.orders, steps.AUTHORIZE, [order_id])
    )
    assert books.document(order_id)["dueBy"] < services.orders.due_by()


def test_beat_asks_which_queues_are_free_and_sends_to_those(
    queues: Queues,
    services: Services,
    clock: StoppedClock,
    place: Place,
    stocked: SetStock,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The relay keeps two messages in every queue; a third is the sweep's, and its last."""
    stocked(apple=5)
    waiting, going = place()["id"], place()["id"]
    announce(services.notifications, [waiting, going])
    perform(services.orders, steps.AUTHORIZE, [going])
    clock.advance(services.settings.step_deadline)
    due_by = books.document(waiting)["dueBy"]
    monkeypatch.setattr(maintenance, "services", lambda: services)
    for _ in range(WAITING_WITH_BEATS):
        send(steps.AUTHORIZE.name, ["0" * 24])

    maintenance.sweep()

    assert queues.take("payments") == [(steps.AUTHORIZE.name, [["0" * 24]])] * WAITING_WITH_BEATS
    assert queues.take("stock") == [(steps.DECREMENT.name, [[going]])]
    assert books.document(waiting)["dueBy"] == due_by
    assert books.document(going)["dueBy"] == services.orders.due_by()
    for _ in range(WAITING_WITH_BEATS - 1):
        send(steps.AUTHORIZE.name, ["0" * 24])
    maintenance.sweep()
    assert queues.take("payments")[-1] == (steps.AUTHORIZE.name, [[waiting]])


def test_only_the_steps_that_the_order_owes_now_are_sent_again(
    services: Services, clock: StoppedClock, place: Place, stocked: SetStock
) -> None:
    stocked(apple=5)
    order_id = place()["id"]
    announce(services.notifications, [order_id])
    perform(services.orders, steps.AUTHORIZE, [order_id])
    clock.advance(services.settings.step_deadline)
    assert swept(services) == {steps.DECREMENT.name: [order_id]}


def test_an_order_that_owes_nothing_is_forgotten_by_the_sweep(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    # The announcement is recorded between the load and the save of the last step.
    perform(services.orders, steps.AUTHORIZE, [order_id])
    perform(services.orders, steps.DECREMENT, [order_id])
    late = followed(services, "payments", "capture", lambda: announce(services.notifications, [order_id]))
    perform(late.orders, steps.CAPTURE, [order_id])
    announce(services.notifications, [order_id])
    services.orders.due_work.postpone({order_id: clock()})
    assert swept(services) == {}
    assert "dueBy" not in books.document(order_id)


def test_clearing_the_due_work_of_an_order_that_changed_meanwhile_loses_nothing(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    finish(services, order_id)
    announce(services.notifications, [order_id])
    services.orders.due_work.postpone({order_id: clock()})
    cancelling = followed(
        services,
        "due_work",
        "overdue",
        lambda: change_status(services.orders, order_id, "cancelled", actor="u"),
    )
    assert swept(cancelling) == {}
    assert books.document(order_id)["dueBy"] == services.orders.due_by()


def test_one_order_that_its_validator_refuses_does_not_stop_the_sweep(
    services: Services, clock: StoppedClock, place: Place, database: OrderDatabase
) -> None:
    ids = [place()["id"] for _ in range(3)]
    damage(database, ids[1])
    clock.advance(services.settings.step_deadline)
    assert sorted(swept(services)[steps.AUTHORIZE.name]) == sorted(ids)
    assert swept(services) == {}


def test_everything_owed_is_found_page_by_page_whether_overdue_or_not(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 4)
    ids = [place()["id"] for _ in range(10)]
    done = place()["id"]
    finish(services, done)
    announce(services.notifications, [done])
    found: list[str] = []
    pages, after = 0, None
    while True:
        owed, after = all_owed_steps(services.orders, after)
        found += owed.get(steps.AUTHORIZE.name, [])
        pages += 1
        if after is None:
            break
    assert (sorted(found), pages) == (sorted(ids), 3)
