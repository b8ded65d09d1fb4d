"""Every public event reaches every endpoint that subscribed to it, after any crash."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.orders.service import change_status
from app.webhooks import service as webhooks
from app.webhooks.delivery import deliver_next, endpoints_due
from app.webhooks.model import LONGEST_WAIT, WAITS
from app.webhooks.sender import WebhookSender
from tests.support.announcing import announce
from tests.support.doubles import Crash, at_once, followed, with_parts
from tests.support.hooks import announced, crash, records
from tests.support.receiver import Receiver, Reply

if TYPE_CHECKING:
    from app.services import Services
    from app.webhooks.model import Endpoint
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.fixture
def services(services: Services) -> Services:
    """Services that may send webhooks to this machine."""
    return with_parts(services, webhooks=WebhookSender(allow_private=True, seconds=5))


def test_an_endpoint_gets_its_events_once_with_the_order_as_it_was(
    services: Services, receiver: Receiver, place: Place, finish: Finish
) -> None:
    every = webhooks.add_endpoint(services.webhooks, receiver.url(), ["*"])
    some = webhooks.add_endpoint(services.webhooks, receiver.url(), ["order.shipped", "payment.*"])
    order_id = place(email="zoe@example.org")["id"]
    finish(services, order_id)
    change_status(services.orders, order_id, "shipped", actor="u", tracking={"number": "1"})
    assert announce(services.notifications, [order_id]).endpoints == sorted([every["id"], some["id"]])
    assert announce(services.notifications, [order_id]).endpoints == []
    assert endpoints_due(services.webhooks) == sorted([every["id"], some["id"]])
    assert [deliver_next(services.webhooks, every["id"]) for _ in range(5)] == [*4 * [True], None]
    received = [hook.verified(every["secrets"][0]["secret"]) for hook in receiver.hooks]
    assert [(one["type"], one["data"]["sequence"], one["data"]["order"]["status"]) for one in received] == [
        ("order.created", 1, "pending"),
        ("order.confirmed", 5, "confirmed"),
        ("shipment.created", 6, "confirmed"),
        ("order.shipped", 7, "shipped"),
    ]
    assert [one["data"]["order"]["version"] for one in received] == [1, 5, 6, 7]
    assert received[0]["data"]["order"]["email"] == "zoe@example.org"
    assert received[3]["timestamp"] == received[3]["data"]["order"]["updatedAt"]
    assert [deliver_next(services.webhooks, some["id"]) for _ in range(2)] == [True, None]
    assert receiver.hooks[4].verified(some["secrets"][0]["secret"])["type"] == "order.shipped"
    assert len({hook.id for hook in receiver.hooks}) == 5
    assert endpoints_due(services.webhooks) == []


def test_an_endpoint_hears_of_nothing_from_before_its_time(
    services: Services, clock: StoppedClock, receiver: Receiver, place: Place
) -> None:
    order_id = place()["id"]
    clock.advance(SECOND)
    endpoint = webhooks.add_endpoint(services.webhooks, receiver.url(), ["*"])
    assert announce(services.notifications, [order_id]).endpoints == []
    assert records(services, endpoint) == []


def test_announcing_at_once_from_many_sides_records_each_delivery_once(
    services: Services, endpoint: Endpoint, place: Place
) -> None:
    ids = [place()["id"] for _ in range(10)]
    at_once(*[lambda: announce(services.notifications, ids)] * 8)
    assert Counter(one["orderId"] for one in records(services, endpoint)) == Counter(ids)


@pytest.mark.parametrize(("part", "method"), [("notifications", "record"), ("webhook_deliveries", "record")])
def test_a_crash_between_the_records_and_the_mark_neither_loses_nor_doubles(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place, part: str, method: str
) -> None:
    order_id = place()["id"]
    with pytest.raises(Crash):
        announce(followed(services, part, method, crash).notifications, [order_id])
    assert announce(services.notifications, [order_id]).endpoints == [endpoint["id"]]
    assert [one["sequence"] for one in records(services, endpoint)] == [1]
    assert [deliver_next(services.webhooks, endpoint["id"]) for _ in range(2)] == [True, None]
    assert len(receiver.hooks) == 1


def test_recording_a_delivered_event_again_changes_nothing(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    order_id = place()["id"]
    with pytest.raises(Crash):
        announce(followed(services, "webhook_deliveries", "record", crash).notifications, [order_id])
    deliver_next(services.webhooks, endpoint["id"])
    announce(services.notifications, [order_id])
    assert [one["status"] for one in records(services, endpoint)] == ["delivered"]
    assert deliver_next(services.webhooks, endpoint["id"]) is None


@pytest.mark.parametrize(
    ("part", "method", "sent"),
    [("webhook_deliveries", "claim", 0), ("orders", "load_with_logs", 0), ("webhooks", "send", 1)],
)
def test_a_process_that_dies_over_an_attempt_leaves_it_to_the_next_with_the_same_id(
    services: Services,
    clock: StoppedClock,
    endpoint: Endpoint,
    receiver: Receiver,
    place: Place,
    part: str,
    method: str,
    sent: int,
) -> None:
    announced(services, place)
    with pytest.raises(Crash):
        deliver_next(followed(services, part, method, crash).webhooks, endpoint["id"])
    assert deliver_next(services.webhooks, endpoint["id"]) is None
    assert endpoints_due(services.webhooks) == []
    clock.advance(61 * SECOND)
    assert endpoints_due(services.webhooks) == [endpoint["id"]]
    assert deliver_next(services.webhooks, endpoint["id"])
    assert len(receiver.hooks) == sent + 1
    assert {hook.id for hook in receiver.hooks} == {records(services, endpoint)[0]["id"]}


def test_a_process_that_was_paused_does_not_overwrite_later_results(
    services: Services, clock: StoppedClock, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place)

    def meanwhile() -> None:
        clock.advance(61 * SECOND)
        assert deliver_next(services.webhooks, endpoint["id"])

    receiver.replies.append(Reply(500))
    deliver_next(followed(services, "webhooks", "send", meanwhile).webhooks, endpoint["id"])
    (record,) = records(services, endpoint)
    assert (record["status"], [attempt["statusCode"] for attempt in record["attempts"]]) == (
        "delivered",
        [200],
    )


def test_an_attempt_is_made_by_one_however_many_try(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place, 5)
    at_once(*[lambda: deliver_next(services.webhooks, endpoint["id"])] * 12)
    assert Counter(hook.id for hook in receiver.hooks) == Counter(
        one["id"] for one in records(services, endpoint)
    )
    assert len(receiver.hooks) == 5


def test_a_failed_delivery_is_retried_by_the_schedule_then_fails_and_can_be_replayed(
    services: Services, clock: StoppedClock, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place)
    receiver.reply = Reply(500)
    for wait in WAITS:
        assert deliver_next(services.webhooks, endpoint["id"]) is False
        (record,) = records(services, endpoint)
        assert 0.8 * wait <= record["dueBy"] - clock() <= 1.2 * wait
        clock.advance(record["dueBy"] - clock() - timedelta(milliseconds=1))
        assert deliver_next(services.webhooks, endpoint["id"]) is None
        clock.advance(timedelta(milliseconds=1))
    assert deliver_next(services.webhooks, endpoint["id"]) is False
    (record,) = records(services, endpoint)
    assert (record["status"], record["reason"], "dueBy" in record) == ("failed", "attempts_exhausted", False)
    assert [attempt["statusCode"] for attempt in record["attempts"]] == [500] * 10
    clock.advance(30 * DAY)
    assert endpoints_due(services.webhooks) == []
    receiver.reply = Reply()
    webhooks.replay(services.webhooks, endpoint["id"], record["id"])
    assert deliver_next(services.webhooks, endpoint["id"])
    (record,) = records(services, endpoint)
    assert (record["status"], "reason" in record, len(record["attempts"])) == ("delivered", False, 11)
    assert {hook.id for hook in receiver.hooks} == {record["id"]}


def test_every_attempt_is_signed_as_of_its_own_time(
    services: Services, clock: StoppedClock, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place)
    receiver.replies.append(Reply(500))
    deliver_next(services.webhooks, endpoint["id"])
    clock.advance(10 * SECOND)
    deliver_next(services.webhooks, endpoint["id"])
    first, second = receiver.hooks
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 10
    assert second.verified(endpoint["secrets"][0]["secret"])


@pytest.mark.parametrize(("asked", "wait"), [("600", 600 * SECOND), ("9999999", LONGEST_WAIT)])
def test_a_receiver_may_ask_for_time(
    services: Services,
    clock: StoppedClock,
    endpoint: Endpoint,
    receiver: Receiver,
    place: Place,
    asked: str,
    wait: timedelta,
) -> None:
    announced(services, place)
    receiver.replies.append(Reply(429, headers=(("Retry-After", asked),)))
    deliver_next(services.webhooks, endpoint["id"])
    assert records(services, endpoint)[0]["dueBy"] == clock() + wait


def test_a_redirect_is_a_failure_and_tried_again(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place)
    receiver.replies.append(Reply(307, headers=(("Location", receiver.url()),)))
    assert deliver_next(services.webhooks, endpoint["id"]) is False
    assert records(services, endpoint)[0]["status"] == "pending"
    assert len(receiver.hooks) == 1


def test_an_answer_that_comes_too_late_is_a_failure(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place)
    receiver.replies.append(Reply(instead=receiver.drip))
    hasty = with_parts(services, webhooks=WebhookSender(allow_private=True, seconds=0.3))
    assert deliver_next(hasty.webhooks, endpoint["id"]) is False
    (attempt,) = records(services, endpoint)[0]["attempts"]
    assert attempt["error"] == "timeout"
    assert attempt["milliseconds"] >= 250


def test_an_address_that_turned_private_is_refused_at_the_send(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place)
    strict = with_parts(services, webhooks=WebhookSender(allow_private=False))
    assert deliver_next(strict.webhooks, endpoint["id"]) is False
    assert records(services, endpoint)[0]["attempts"][0]["error"] == "private_address"
    assert receiver.hooks == []
