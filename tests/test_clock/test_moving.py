"""The time moves forward, and all that comes due is done at its time, whatever happens meanwhile."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import ClockIsMoving, InvalidInput
from app.holds.service import place_hold
from app.mongo.movable_clock import Mover
from app.orders.commands import Request
from app.orders.service import change_status, delete_order, place_order
from app.stock.service import adjust
from app.test_clock import due_work
from app.test_clock.service import LAST, Advanced, advance, show_time
from app.webhooks.model import WAITS
from tasks.schedule import EVERY
from tests.support.damage import damage
from tests.support.doubles import Crash, eventually
from tests.support.receiver import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from app.test_clock import TestClockServices
    from app.webhooks.model import Endpoint
    from tests.support.doubles import StoppedClock
    from tests.support.receiver import Receiver
    from tests.support.service_fixtures import Place, SetStock

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
# A due time is rounded up to a second, and the next stop is a second later at least.
NEAR = 2 * SECOND


def types_of(advanced: Advanced, order_id: str | None = None) -> list[str]:
    """The types of the events that an answer shows, of one order or of all."""
    return [event["type"] for order, event in advanced.events if order_id in (None, order["id"])]


def times_of(advanced: Advanced, kind: str) -> list[datetime]:
    return [event["at"] for _, event in advanced.events if event["type"] == kind]


def test_an_order_that_is_not_paid_expires_at_its_time(
    services: Services, test_clock: TestClockServices, place: Place
) -> None:
    order = place(method="sandbox_unavailable")

    advanced = advance(test_clock, 16 * MINUTE)

    assert advanced.time.now - order["createdAt"] == advanced.time.offset == 16 * MINUTE
    first, second, *rest = types_of(advanced)
    assert (first, second, *sorted(rest)) == (
        *("order.created", "order.cancelled"),
        *("payment.voided", "stock.released"),
    )
    (cancelled,) = times_of(advanced, "order.cancelled")
    assert 15 * MINUTE < cancelled - order["createdAt"] <= 15 * MINUTE + NEAR
    assert services.clock() == advanced.time.now


def test_an_order_that_is_just_placed_is_confirmed_and_does_not_expire(
    test_clock: TestClockServices, place: Place
) -> None:
    """Although no worker has taken it yet."""
    order = place()
    advanced = advance(test_clock, DAY)
    assert types_of(advanced, order["id"])[-1] == "order.confirmed"
    (confirmed,) = times_of(advanced, "order.confirmed")
    assert confirmed == order["createdAt"]


def test_a_backorder_ends_at_its_time_or_is_served_by_what_has_come(
    services: Services, test_clock: TestClockServices, stocked: SetStock
) -> None:
    stocked(apple=0)
    until = services.clock() + DAY
    draft: Any = {
        "userId": "user",
        "products": [{"productId": "apple", "quantity": 1}],
        "totalAmount": 1000,
        "currency": "USD",
        "onShortage": "backorder",
        "backorderUntil": until,
    }
    first, second = (
        place_order(services.orders, draft, actor="user", key=None, digest="").order["id"] for _ in range(2)
    )
    advance(test_clock, MINUTE)
    adjust(services.stock, "apple", 1, "delivery")
    advanced = advance(test_clock, 2 * DAY)
    (ended,) = times_of(advanced, "stock.insufficient")
    assert until <= ended <= until + NEAR
    types = [types_of(advanced, order_id) for order_id in (first, second)]
    assert sorted(one[-1] for one in types) == ["order.confirmed", "payment.voided"]


def test_a_webhook_is_tried_again_at_each_of_its_times(
    services: Services, test_clock: TestClockServices, place: Place, receiver: Receiver, endpoint: Endpoint
) -> None:
    """And its signature has the real time, which its receiver compares with a clock of its own."""
    receiver.reply = Reply(503)
    order = place(method="sandbox_declined")

    advanced = advance(test_clock, 5 * DAY)

    first = next(one.delivery["id"] for one in advanced.attempts if one.delivery["type"] == "order.created")
    tried = [one.attempt["at"] for one in advanced.attempts if one.delivery["id"] == first]
    assert tried[0] == order["createdAt"]
    assert len(tried) == len(WAITS) + 1
    for wait, before, after in zip(WAITS, tried, tried[1:], strict=False):
        assert 0.8 * wait <= after - before <= 1.2 * wait + NEAR
    assert [one.attempt["at"] for one in advanced.attempts] == sorted(
        one.attempt["at"] for one in advanced.attempts
    )
    assert services.webhooks.deliveries.get(endpoint["id"], first)["status"] == "failed"  # type: ignore[index]
    for hook in (receiver.hooks[0], receiver.hooks[-1]):
        hook.verified(endpoint["secrets"][0]["secret"])


def test_holds_expiries_and_webhooks_of_one_way_come_in_the_order_of_their_times(
    services: Services, test_clock: TestClockServices, place: Place, receiver: Receiver, endpoint: Endpoint
) -> None:
    receiver.replies.extend([Reply(503)] * 3)
    held, late = place()["id"], place(method="sandbox_unavailable")["id"]
    until = services.clock() + 20 * MINUTE
    hold = {"code": "fraud", "blocks": ["capture"], "then": "release", "until": until}
    place_hold(services.orders, held, hold, Request("shop"))

    advanced = advance(test_clock, 30 * MINUTE)

    seen = [(order["id"], event["type"]) for order, event in advanced.events]
    assert seen.index((late, "order.cancelled")) < seen.index((held, "hold.expired"))
    assert seen.index((held, "hold.expired")) < seen.index((held, "order.confirmed"))
    assert [event["at"] for _, event in advanced.events] == sorted(e["at"] for _, e in advanced.events)
    (ended,) = times_of(advanced, "hold.expired")
    assert until <= ended <= until + NEAR


def test_what_is_kept_long_enough_is_removed(
    services: Services, test_clock: TestClockServices, database: OrderDatabase, place: Place
) -> None:
    order_id = place()["id"]
    advance(test_clock, SECOND)
    change_status(services.orders, order_id, "cancelled", actor="shop")
    advance(test_clock, SECOND)
    delete_order(services.orders, order_id, actor="shop")
    advance(test_clock, 89 * DAY)
    assert database.orders.count_documents({}) == 1
    advance(test_clock, 2 * DAY)
    assert database.orders.count_documents({}) == 0


def test_a_call_that_takes_too_long_ends_and_the_next_one_goes_on(
    services: Services, test_clock: TestClockServices, place: Place, clock: StoppedClock
) -> None:
    order = place(method="sandbox_unavailable")
    clock.advance(timedelta(milliseconds=1))
    begun = services.clock()

    first = advance(test_clock, 16 * MINUTE, patience=0)
    assert first.time.target == begun + 16 * MINUTE
    assert first.time.now < first.time.target
    second = advance(test_clock, timedelta())

    assert (second.time.now, second.time.target) == (begun + 16 * MINUTE, None)
    assert "order.cancelled" in types_of(second, order["id"])
    assert show_time(test_clock).target is None


def test_a_call_goes_on_where_a_process_died(
    test_clock: TestClockServices, place: Place, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its right to move the time is over. The answer has what happened before the death, too."""
    order = place(method="sandbox_unavailable")
    begun, kind = test_clock.clock(), due_work.KINDS["expiry"]

    def die(walk: Any) -> int:
        kind.work(walk)
        raise Crash

    with monkeypatch.context() as dying:
        dying.setitem(due_work.KINDS, "expiry", kind._replace(work=die))
        # A process that is killed gives nothing up.
        dying.setattr(Mover, "end", lambda mover: mover._over.set())
        with pytest.raises(Crash):
            advance(test_clock, DAY)
    with pytest.raises(ClockIsMoving):
        advance(test_clock, timedelta())
    clock.advance(11 * SECOND)

    advanced = advance(test_clock, timedelta())

    assert advanced.time.now == begun + DAY
    assert advanced.time.target is None
    assert "order.cancelled" in types_of(advanced, order["id"])


def test_of_two_calls_at_once_one_is_refused_and_moves_nothing(test_clock: TestClockServices) -> None:
    with test_clock.clock.moving(), pytest.raises(ClockIsMoving):
        advance(test_clock, DAY)
    assert show_time(test_clock).offset == timedelta()


def test_the_time_waits_for_work_that_has_begun_and_new_work_waits_for_the_time(
    test_clock: TestClockServices,
) -> None:
    clock = test_clock.clock
    seen = list[timedelta]()
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with clock.still():
            begun.set()
            over.wait(30)
            seen.append(show_time(test_clock).offset)

    def move() -> None:
        advance(test_clock, DAY)

    def late_work() -> None:
        with clock.still():
            seen.append(show_time(test_clock).offset)

    threads = [threading.Thread(target=work)]
    threads[0].start()
    assert begun.wait(10)
    threads.append(threading.Thread(target=move))
    threads[1].start()
    eventually(lambda: "holder" in clock.record.get())
    threads.append(threading.Thread(target=late_work))
    threads[2].start()
    over.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert seen == [timedelta(), DAY]
    assert not clock.record.get().get("work")


def test_work_of_a_dead_process_holds_up_the_time_no_longer_than_it_may_last(
    test_clock: TestClockServices, clock: StoppedClock
) -> None:
    now = clock()
    assert test_clock.clock.record.add_work("dead", now, now + 15 * SECOND)
    clock.advance(16 * SECOND)
    assert advance(test_clock, DAY).time.offset == DAY


def test_the_time_never_goes_back_and_never_too_far(test_clock: TestClockServices) -> None:
    advance(test_clock, DAY)
    with test_clock.clock.moving() as mover:
        mover.to(datetime(2000, 1, 1, tzinfo=UTC))
    assert show_time(test_clock).offset == DAY
    too_far = LAST - test_clock.clock() + SECOND
    with pytest.raises(InvalidInput, match="/by: must not lead past 2100-01-01"):
        advance(test_clock, too_far)
    assert show_time(test_clock).target is None


def test_one_damaged_order_stops_no_other(
    services: Services, test_clock: TestClockServices, database: OrderDatabase, place: Place
) -> None:
    bad, good = (place(method="sandbox_unavailable")["id"] for _ in range(2))
    damage(database, bad, {"$set": {"payment": "gone"}})
    advanced = advance(test_clock, 16 * MINUTE)
    assert "order.cancelled" in types_of(advanced, good)
    assert advanced.time.target is None


def test_an_answer_shows_a_bounded_number_of_events(
    test_clock: TestClockServices, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.test_clock.service.MOST_SHOWN", 3)
    ids = [place(method="sandbox_unavailable")["id"] for _ in range(2)]
    advanced = advance(test_clock, 16 * MINUTE)
    assert types_of(advanced)[:2] == ["order.created"] * 2
    assert len(advanced.events) == 3
    assert advanced.omitted_events == sum(map(len, _logs(test_clock, ids))) - 3


def test_every_scheduled_task_is_a_kind_of_due_work_or_has_no_due_times() -> None:
    """A new one fails here, so that nobody forgets to add its row."""
    kinds = {
        "maintenance.sweep": ["steps"],
        "maintenance.retry_notifications": ["notifications"],
        "maintenance.retry_webhooks": ["webhooks"],
        "maintenance.send_payment_events": ["payment events"],
        "maintenance.expire": ["holds", "expiry", "backorders"],
        "maintenance.deal_stock": ["stock that came"],
        "maintenance.purge": ["purges"],
    }
    without = {"finish_loads", "number_orders", "reconcile", "count_orders"}
    assert kinds.keys() | {f"maintenance.{name}" for name in without} == EVERY.keys()
    assert {kind for of_task in kinds.values() for kind in of_task} == due_work.KINDS.keys()


def _logs(test_clock: TestClockServices, ids: Sequence[str]) -> list[Any]:
    return [order["events"] for order in test_clock.orders.store.load_with_logs(ids)]
