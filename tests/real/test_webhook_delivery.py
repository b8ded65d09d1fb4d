"""Every public event is told to every endpoint that asked for it, whatever dies in between."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.notifications.announce import announce
from app.orders.service import change_status
from app.webhooks import service as webhooks
from app.webhooks.delivery import deliver_next, endpoints_due
from app.webhooks.model import LONGEST_WAIT, WAITS
from app.webhooks.sender import WebhookSender
from tests.real.doubles import Crash, at_once, followed
from tests.real.hooks import announced, crash, records
from tests.receiver import Receiver, Reply

if TYPE_CHECKING:
    from app.shop import Shop
    from app.webhooks.model import Endpoint
    from tests.real.conftest import Finish, Place
    from tests.real.doubles import StoppedClock

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A shop that may tell a receiver on this machine."""
    return replace(shop, webhooks=WebhookSender(allow_private=True, seconds=5))


def test_an_endpoint_is_told_of_what_it_asked_for_once_and_in_the_order_as_it_was(
    shop: Shop, receiver: Receiver, place: Place, finish: Finish
) -> None:
    every = webhooks.add_endpoint(shop, receiver.url(), ["*"])
    some = webhooks.add_endpoint(shop, receiver.url(), ["order.shipped", "payment.*"])
    order_id = place(email="zoe@example.org")["id"]
    finish(shop, order_id)
    change_status(shop, order_id, "shipped", actor="u", tracking={"number": "1"})
    assert announce(shop, [order_id]).endpoints == sorted([every["id"], some["id"]])
    assert announce(shop, [order_id]).endpoints == []
    assert endpoints_due(shop) == sorted([every["id"], some["id"]])
    assert [deliver_next(shop, every["id"]) for _ in range(4)] == [True, True, True, None]
    told = [hook.verified(every["secrets"][0]["secret"]) for hook in receiver.hooks]
    assert [(one["type"], one["data"]["sequence"], one["data"]["order"]["status"]) for one in told] == [
        ("order.created", 1, "pending"),
        ("order.confirmed", 5, "confirmed"),
        ("order.shipped", 6, "shipped"),
    ]
    assert [one["data"]["order"]["version"] for one in told] == [1, 5, 6]
    assert told[0]["data"]["order"]["email"] == "zoe@example.org"
    assert told[2]["timestamp"] == told[2]["data"]["order"]["updatedAt"]
    assert [deliver_next(shop, some["id"]) for _ in range(2)] == [True, None]
    assert receiver.hooks[3].verified(some["secrets"][0]["secret"])["type"] == "order.shipped"
    assert len({hook.id for hook in receiver.hooks}) == 4
    assert endpoints_due(shop) == []


def test_an_endpoint_hears_of_nothing_from_before_its_time(
    shop: Shop, clock: StoppedClock, receiver: Receiver, place: Place
) -> None:
    order_id = place()["id"]
    clock.advance(SECOND)
    endpoint = webhooks.add_endpoint(shop, receiver.url(), ["*"])
    assert announce(shop, [order_id]).endpoints == []
    assert records(shop, endpoint) == []


def test_announcing_at_once_from_many_sides_records_each_delivery_once(
    shop: Shop, endpoint: Endpoint, place: Place
) -> None:
    ids = [place()["id"] for _ in range(10)]
    at_once(*[lambda: announce(shop, ids)] * 8)
    assert Counter(one["orderId"] for one in records(shop, endpoint)) == Counter(ids)


@pytest.mark.parametrize(("part", "method"), [("notifications", "record"), ("webhook_deliveries", "record")])
def test_a_crash_between_the_records_and_the_mark_neither_loses_nor_doubles(
    shop: Shop, endpoint: Endpoint, receiver: Receiver, place: Place, part: str, method: str
) -> None:
    order_id = place()["id"]
    with pytest.raises(Crash):
        announce(followed(shop, part, method, crash), [order_id])
    assert announce(shop, [order_id]).endpoints == [endpoint["id"]]
    assert [one["sequence"] for one in records(shop, endpoint)] == [1]
    assert [deliver_next(shop, endpoint["id"]) for _ in range(2)] == [True, None]
    assert len(receiver.hooks) == 1


def test_recording_again_what_was_delivered_meanwhile_changes_nothing(
    shop: Shop, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    order_id = place()["id"]
    with pytest.raises(Crash):
        announce(followed(shop, "webhook_deliveries", "record", crash), [order_id])
    deliver_next(shop, endpoint["id"])
    announce(shop, [order_id])
    assert [one["status"] for one in records(shop, endpoint)] == ["delivered"]
    assert deliver_next(shop, endpoint["id"]) is None


@pytest.mark.parametrize(
    ("part", "method", "sent"),
    [("webhook_deliveries", "claim", 0), ("orders", "load_with_logs", 0), ("webhooks", "send", 1)],
)
def test_a_process_that_dies_over_an_attempt_leaves_it_to_the_next_with_the_same_id(
    shop: Shop,
    clock: StoppedClock,
    endpoint: Endpoint,
    receiver: Receiver,
    place: Place,
    part: str,
    method: str,
    sent: int,
) -> None:
    announced(shop, place)
    with pytest.raises(Crash):
        deliver_next(followed(shop, part, method, crash), endpoint["id"])
    assert deliver_next(shop, endpoint["id"]) is None
    assert endpoints_due(shop) == []
    clock.advance(61 * SECOND)
    assert endpoints_due(shop) == [endpoint["id"]]
    assert deliver_next(shop, endpoint["id"])
    assert len(receiver.hooks) == sent + 1
    assert {hook.id for hook in receiver.hooks} == {records(shop, endpoint)[0]["id"]}


def test_a_process_that_comes_back_from_the_dead_does_not_overwrite_what_came_after_it(
    shop: Shop, clock: StoppedClock, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(shop, place)

    def meanwhile() -> None:
        clock.advance(61 * SECOND)
        assert deliver_next(shop, endpoint["id"])

    receiver.replies.append(Reply(500))
    deliver_next(followed(shop, "webhooks", "send", meanwhile), endpoint["id"])
    (record,) = records(shop, endpoint)
    assert (record["status"], [attempt["statusCode"] for attempt in record["attempts"]]) == (
        "delivered",
        [200],
    )


def test_an_attempt_is_made_by_one_however_many_try(
    shop: Shop, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(shop, place, 5)
    at_once(*[lambda: deliver_next(shop, endpoint["id"])] * 12)
    assert Counter(hook.id for hook in receiver.hooks) == Counter(
        one["id"] for one in records(shop, endpoint)
    )
    assert len(receiver.hooks) == 5


def test_what_fails_is_tried_again_by_the_schedule_and_given_up_after_its_last_wait_and_can_be_replayed(
    shop: Shop, clock: StoppedClock, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(shop, place)
    receiver.reply = Reply(500)
    for wait in WAITS:
        assert deliver_next(shop, endpoint["id"]) is False
        (record,) = records(shop, endpoint)
        assert 0.8 * wait <= record["dueBy"] - clock() <= 1.2 * wait
        clock.advance(record["dueBy"] - clock() - timedelta(milliseconds=1))
        assert deliver_next(shop, endpoint["id"]) is None
        clock.advance(timedelta(milliseconds=1))
    assert deliver_next(shop, endpoint["id"]) is False
    (record,) = records(shop, endpoint)
    assert (record["status"], record["reason"], "dueBy" in record) == ("failed", "attempts_exhausted", False)
    assert [attempt["statusCode"] for attempt in record["attempts"]] == [500] * 10
    clock.advance(30 * DAY)
    assert endpoints_due(shop) == []
    receiver.reply = Reply()
    webhooks.replay(shop, endpoint["id"], record["id"])
    assert deliver_next(shop, endpoint["id"])
    (record,) = records(shop, endpoint)
    assert (record["status"], "reason" in record, len(record["attempts"])) == ("delivered", False, 11)
    assert {hook.id for hook in receiver.hooks} == {record["id"]}


def test_every_attempt_is_signed_as_of_its_own_time(
    shop: Shop, clock: StoppedClock, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(shop, place)
    receiver.replies.append(Reply(500))
    deliver_next(shop, endpoint["id"])
    clock.advance(10 * SECOND)
    deliver_next(shop, endpoint["id"])
    first, second = receiver.hooks
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 10
    assert second.verified(endpoint["secrets"][0]["secret"])


@pytest.mark.parametrize(("asked", "wait"), [("600", 600 * SECOND), ("9999999", LONGEST_WAIT)])
def test_a_receiver_may_ask_for_time(
    shop: Shop,
    clock: StoppedClock,
    endpoint: Endpoint,
    receiver: Receiver,
    place: Place,
    asked: str,
    wait: timedelta,
) -> None:
    announced(shop, place)
    receiver.replies.append(Reply(429, headers=(("Retry-After", asked),)))
    deliver_next(shop, endpoint["id"])
    assert records(shop, endpoint)[0]["dueBy"] == clock() + wait


def test_a_redirect_is_a_failure_and_tried_again(
    shop: Shop, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(shop, place)
    receiver.replies.append(Reply(307, headers=(("Location", receiver.url()),)))
    assert deliver_next(shop, endpoint["id"]) is False
    assert records(shop, endpoint)[0]["status"] == "pending"
    assert len(receiver.hooks) == 1


def test_an_answer_that_comes_too_late_is_a_failure(
    shop: Shop, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(shop, place)
    receiver.replies.append(Reply(instead=receiver.drip))
    hasty = replace(shop, webhooks=WebhookSender(allow_private=True, seconds=0.3))
    assert deliver_next(hasty, endpoint["id"]) is False
    (attempt,) = records(shop, endpoint)[0]["attempts"]
    assert attempt["error"] == "timeout"
    assert attempt["milliseconds"] >= 250


def test_an_address_that_turned_private_is_refused_at_the_send(
    shop: Shop, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(shop, place)
    strict = replace(shop, webhooks=WebhookSender(allow_private=False))
    assert deliver_next(strict, endpoint["id"]) is False
    assert records(shop, endpoint)[0]["attempts"][0]["error"] == "private_address"
    assert receiver.hooks == []
