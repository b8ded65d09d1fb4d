"""Every public event is announced once per channel, by any process, and after any crash."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.notifications.announce import CLAIM, deliver, overdue_notifications
from app.notifications.model import Delivery
from app.orders.events import is_public
from app.orders.service import change_status, delete_order
from app.orders.sweeping import purge_deleted_orders
from tests.support import announcing
from tests.support.damage import damage
from tests.support.doubles import Crash, at_once, followed, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from app.mongo.database import OrderDatabase
    from app.notifications.model import Notification
    from app.orders.model import Order
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

SENT = Delivery("sent")
DAY = timedelta(days=1)


class Telegraph:
    """A channel that remembers what it delivered; `outcomes` are answered first, then everything is sent."""

    def __init__(self, name: str = "telegraph", *, instant: bool = False) -> None:
        self.name = name
        self.instant = instant
        self.delivered: list[tuple[Notification, Order]] = []
        self.outcomes: list[Delivery | type[BaseException]] = []
        self.now_and_then: Callable[[], object] = lambda: None

    def wants(self, order: Order, event_type: str) -> bool:
        """Everything."""
        return True

    def deliver(self, notifications: Sequence[tuple[Notification, Order]]) -> Generator[Delivery]:
        """The next outcomes that were asked for."""
        for delivered in notifications:
            self.delivered.append(delivered)
            self.now_and_then()
            outcome = self.outcomes.pop(0) if self.outcomes else SENT
            if not isinstance(outcome, Delivery):
                raise outcome
            yield outcome

    def ids(self) -> list[str]:
        """The ids of everything delivered, in order."""
        return [notification["id"] for notification, _ in self.delivered]


@pytest.fixture
def telegraph() -> Telegraph:
    """A channel whose deliveries can fail."""
    return Telegraph()


@pytest.fixture
def services(services: Services, telegraph: Telegraph) -> Services:
    """Services with one more channel, a telegraph."""
    return with_parts(services, channels=(telegraph,))


def test_many_announcers_at_once_announce_each_event_once_per_channel(
    services: Services, place: Place, finish: Finish, books: Books
) -> None:
    channels = [Telegraph("one"), Telegraph("two")]
    busy = with_parts(services, channels=tuple(channels))
    ids = [place()["id"] for _ in range(10)]
    finish(busy, *ids)
    returned = at_once(*[lambda: announce(busy, ids)] * 16)
    wanted = {
        f"{order['id']}:{event['sequence']}:{channel.name}"
        for order in books.orders()
        for event in order["events"]
        if is_public(event["type"], event["at"])
        for channel in channels
    }
    assert len(wanted) == 10 * 2 * 2
    assert Counter(one for of_call in returned for one in of_call) == Counter(wanted)
    at_once(*[lambda: deliver(busy.notifications, sorted(wanted))] * 4)
    assert Counter(channels[0].ids() + channels[1].ids()) == Counter(wanted)
    assert {record["status"] for record in books.notifications()} == {"sent"}
    assert announce(busy, ids) == []


def test_an_instant_channel_is_used_at_once_and_only_without_another(
    services: Services, telegraph: Telegraph, place: Place, books: Books
) -> None:
    log = Telegraph("log", instant=True)
    order_id = place()["id"]
    at_once(*[lambda: announce(with_parts(services, channels=(log,)), [order_id])] * 8)
    assert log.ids() == [f"{order_id}:1:log"]
    assert [record["status"] for record in books.notifications()] == ["sent"]
    other = place()["id"]
    assert announce(with_parts(services, channels=(telegraph, log)), [other]) == [f"{other}:1:telegraph"]
    assert log.ids() == [f"{order_id}:1:log"]


def test_only_events_since_the_last_announcement_are_announced(
    services: Services, place: Place, finish: Finish
) -> None:
    order_id = place()["id"]
    assert announce(services, [order_id]) == [f"{order_id}:1:telegraph"]
    finish(services, order_id)
    change_status(services.orders, order_id, "shipped", actor="u")
    # The order is confirmed; it has a shipment, and is shipped.
    assert announce(services, [order_id]) == [f"{order_id}:{sequence}:telegraph" for sequence in (5, 6, 7)]
    assert announce(services, [order_id]) == []


def test_an_event_is_announced_with_the_order_as_it_was_then(
    services: Services, telegraph: Telegraph, place: Place, finish: Finish
) -> None:
    order_id = place(email="a@example.org")["id"]
    finish(services, order_id)
    deliver(services.notifications, announce(services, [order_id]))
    assert [(order["status"], order["version"]) for _, order in telegraph.delivered] == [
        ("pending", 1),
        ("confirmed", 5),
    ]
    assert all(order["personal"]["email"] == "a@example.org" for _, order in telegraph.delivered)


def test_a_crash_after_the_record_neither_loses_nor_doubles_it(
    services: Services, telegraph: Telegraph, place: Place, books: Books
) -> None:
    order_id = place()["id"]
    with pytest.raises(Crash):
        announce(followed(services, "notifications", "record", crash), [order_id])
    assert announce(services, [order_id]) == []
    assert books.document(order_id)["announced"] == 1
    assert overdue_notifications(services.notifications) == [f"{order_id}:1:telegraph"]
    deliver(services.notifications, overdue_notifications(services.notifications))
    assert telegraph.ids() == [f"{order_id}:1:telegraph"]
    assert overdue_notifications(services.notifications) == []


def test_a_claim_is_its_owners_alone_until_it_runs_out(
    services: Services, clock: StoppedClock, telegraph: Telegraph, place: Place, books: Books
) -> None:
    telegraph.outcomes = [Crash]
    wanted = announce(services, [place()["id"]])
    with pytest.raises(Crash):
        deliver(services.notifications, wanted)
    deliver(services.notifications, wanted)
    assert overdue_notifications(services.notifications) == []
    assert len(telegraph.delivered) == 1
    clock.advance(timedelta(minutes=10))
    assert overdue_notifications(services.notifications) == wanted
    deliver(services.notifications, wanted)
    assert telegraph.ids() == wanted * 2
    assert books.notifications()[0]["attempts"] == 2


def test_a_claim_is_renewed_while_a_long_batch_goes_out(
    services: Services, clock: StoppedClock, telegraph: Telegraph, place: Place
) -> None:
    """Ten seconds for each: far longer than a claim lasts, and another worker looks after each."""
    wanted = announce(services, [place()["id"] for _ in range(12)])
    another = Telegraph()

    def take_long() -> None:
        clock.advance(timedelta(seconds=10))
        deliver(
            with_parts(services, channels=(another,)).notifications,
            overdue_notifications(services.notifications),
        )

    telegraph.now_and_then = take_long
    deliver(services.notifications, wanted)
    assert telegraph.ids() == wanted
    assert another.ids() == []


def test_a_worker_that_was_paused_leaves_the_rest_to_another(
    services: Services, clock: StoppedClock, telegraph: Telegraph, place: Place, books: Books
) -> None:
    """Only the one that it had in hand is sent twice."""
    wanted = announce(services, [place()["id"] for _ in range(6)])
    another = Telegraph()

    def pause_once() -> None:
        telegraph.now_and_then = lambda: None
        clock.advance(timedelta(minutes=1))
        deliver(
            with_parts(services, channels=(another,)).notifications,
            overdue_notifications(services.notifications),
        )

    telegraph.now_and_then = pause_once
    deliver(services.notifications, wanted)
    assert telegraph.ids() == wanted[:1]
    assert sorted(another.ids()) == sorted(wanted)
    assert {record["status"] for record in books.notifications()} == {"sent"}


def test_a_worker_that_dies_in_a_batch_doubles_one_at_most(
    services: Services, clock: StoppedClock, telegraph: Telegraph, place: Place
) -> None:
    """And it holds up the others for half a minute."""
    wanted = announce(services, [place()["id"] for _ in range(5)])
    telegraph.outcomes = [SENT, SENT, Crash]
    with pytest.raises(Crash):
        deliver(services.notifications, wanted)
    clock.advance(CLAIM)
    deliver(services.notifications, overdue_notifications(services.notifications))
    assert telegraph.ids()[:3] == wanted[:3]
    assert sorted(telegraph.ids()[3:]) == sorted(wanted[2:])


def test_a_delivery_that_fails_for_now_is_tried_again_ever_later_and_given_up_after_about_a_day(
    services: Services, clock: StoppedClock, telegraph: Telegraph, place: Place, books: Books
) -> None:
    wanted = announce(services, [place()["id"]])
    began, waits = clock(), []
    telegraph.outcomes = [Delivery("try_again", "451")] * 100
    for _ in range(100):
        deliver(services.notifications, wanted)
        (record,) = books.notifications()
        if record["status"] != "pending":
            break
        assert overdue_notifications(services.notifications) == []
        waits.append((record["dueBy"] - clock()).total_seconds())
        clock.advance(record["dueBy"] - clock())
        assert overdue_notifications(services.notifications) == wanted
    assert (record["status"], record["detail"], record["attempts"]) == (
        "failed",
        "451",
        len(telegraph.delivered),
    )
    assert all(2.5 * min(2**n, 720) < wait < 15 * min(2**n, 720) for n, wait in enumerate(waits))
    assert 0.5 * DAY < clock() - began < 2 * DAY
    assert overdue_notifications(services.notifications) == []


def test_a_final_refusal_is_not_tried_again_and_spoils_no_other(
    services: Services, telegraph: Telegraph, place: Place, books: Books, logged: list[Any]
) -> None:
    wanted = announce(services, [place()["id"] for _ in range(3)])
    telegraph.outcomes = [SENT, Delivery("failed", "550"), Delivery("try_again", "451")]
    deliver(services.notifications, wanted)
    statuses = {record["_id"]: record["status"] for record in books.notifications()}
    assert [statuses[one] for one in telegraph.ids()] == ["sent", "failed", "pending"]
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["notification failed"]


def test_a_notification_whose_order_was_purged_meanwhile_ends(
    services: Services,
    clock: StoppedClock,
    telegraph: Telegraph,
    place: Place,
    database: OrderDatabase,
    books: Books,
) -> None:
    kept, purged = place()["id"], place()["id"]
    wanted = announce(services, [kept, purged])
    database["orders"].delete_one({"_id": ObjectId(purged)})
    deliver(services.notifications, wanted)
    assert telegraph.ids() == [f"{kept}:1:telegraph"]
    assert {record["orderId"]: record["status"] for record in books.notifications()} == {
        kept: "sent",
        purged: "failed",
    }


def test_announcing_an_order_purged_meanwhile_does_nothing(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, books: Books
) -> None:
    order_id = place()["id"]
    delete_order(services.orders, order_id, actor="u")
    finish(services, order_id)
    announce(services, [order_id])
    clock.advance(DAY * 91)
    assert purge_deleted_orders(services.orders) == 1
    assert announce(services, [order_id]) == []
    assert books.notifications() == []


def test_a_notification_for_a_channel_that_is_gone_ends(
    services: Services, place: Place, books: Books
) -> None:
    wanted = announce(services, [place()["id"]])
    deliver(with_parts(services, channels=()).notifications, wanted)
    assert books.notifications()[0]["status"] == "failed"


def test_an_order_with_a_changed_log_delays_no_other_notification(
    services: Services, telegraph: Telegraph, place: Place, database: OrderDatabase, books: Books
) -> None:
    ids = [place()["id"] for _ in range(3)]
    wanted = announce(services, ids)
    damage(database, ids[1])
    deliver(services.notifications, wanted)
    assert set(telegraph.ids()) == {f"{ids[0]}:1:telegraph", f"{ids[2]}:1:telegraph"}
    assert {record["orderId"]: record["status"] for record in books.notifications()} == {
        ids[0]: "sent",
        ids[1]: "pending",
        ids[2]: "sent",
    }


def announce(services: Services, order_ids: Sequence[str]) -> list[str]:
    """Announces; the ids of the notifications to be delivered now."""
    return announcing.announce(services.notifications, order_ids).notifications


def crash() -> None:
    """Dies."""
    raise Crash
