"""The ends of deliveries and endpoints, their signatures, and their independence of each other."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.orders.service import delete_order
from app.orders.sweeping import purge_deleted_orders
from app.webhooks import service as webhooks
from app.webhooks.delivery import deliver_next, endpoints_due
from app.webhooks.sender import WebhookSender
from tests.support.announcing import announce
from tests.support.damage import damage
from tests.support.doubles import at_once, followed, with_parts
from tests.support.hooks import announced, records
from tests.support.receiver import Receiver, Reply

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from app.webhooks.model import Answer, Endpoint
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.fixture
def services(services: Services) -> Services:
    """Services that may send webhooks to this machine."""
    return with_parts(services, webhooks=WebhookSender(allow_private=True, seconds=5))


def test_gone_disables_the_endpoint_and_fails_its_pending_deliveries(
    services: Services, clock: StoppedClock, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place, 3)
    receiver.replies.extend([Reply(500), Reply(410)])
    assert [deliver_next(services.webhooks, endpoint["id"]) for _ in range(3)] == [False, False, None]
    disabled = webhooks.get_endpoint(services.webhooks, endpoint["id"])
    assert (disabled["enabled"], disabled["disabledReason"]) == (False, "gone")
    assert Counter(one["reason"] for one in records(services, endpoint)) == {
        "endpoint_gone": 1,
        "endpoint_disabled": 2,
    }
    announced(services, place)
    assert len(records(services, endpoint)) == 3
    clock.advance(DAY)
    assert endpoints_due(services.webhooks) == []
    webhooks.change_endpoint(services.webhooks, endpoint["id"], {"enabled": True})
    announced(services, place)
    assert deliver_next(services.webhooks, endpoint["id"])
    assert len(receiver.hooks) == 3


def test_gone_of_an_address_that_was_left_meanwhile_disables_nothing(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place)
    receiver.replies.append(Reply(410))
    moved = followed(
        services,
        "webhooks",
        "send",
        lambda: webhooks.change_endpoint(
            services.webhooks, endpoint["id"], {"url": receiver.url("localhost")}
        ),
    )
    deliver_next(moved.webhooks, endpoint["id"])
    assert webhooks.get_endpoint(services.webhooks, endpoint["id"])["enabled"]


def test_a_delivery_to_an_endpoint_disabled_or_removed_meanwhile_is_not_sent(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place, database: OrderDatabase
) -> None:
    removed = webhooks.add_endpoint(services.webhooks, receiver.url(), ["*"])
    order_id = place()["id"]

    def end_both() -> None:
        webhooks.remove_endpoint(services.webhooks, removed["id"])
        webhooks.change_endpoint(services.webhooks, endpoint["id"], {"enabled": False})

    announce(followed(services, "webhook_endpoints", "enabled", end_both).notifications, [order_id])
    assert endpoints_due(services.webhooks) == sorted([endpoint["id"], removed["id"]])
    for endpoint_id in endpoints_due(services.webhooks):
        assert deliver_next(services.webhooks, endpoint_id) is None
    assert endpoints_due(services.webhooks) == []
    assert receiver.hooks == []
    assert [one["reason"] for one in records(services, endpoint)] == ["endpoint_disabled"]
    assert database["webhook_deliveries"].count_documents({"endpointId": removed["id"]}) == 0


def test_after_a_rotation_both_secrets_verify_for_a_day_and_then_the_new_one_alone(
    services: Services, clock: StoppedClock, endpoint: Endpoint, receiver: Receiver
) -> None:
    old = endpoint["secrets"][0]["secret"]
    new = webhooks.rotate_secret(services.webhooks, endpoint["id"])["secrets"][0]["secret"]
    webhooks.send_test_event(services.webhooks, endpoint["id"])
    assert deliver_next(services.webhooks, endpoint["id"])
    (hook,) = receiver.hooks
    assert hook.verified(new) == hook.verified(old)
    assert hook.verified(new)["data"] == {"endpointId": endpoint["id"]}
    assert len(hook.headers["webhook-signature"].split(" ")) == 2
    clock.advance(DAY)
    webhooks.send_test_event(services.webhooks, endpoint["id"])
    deliver_next(services.webhooks, endpoint["id"])
    assert len(receiver.hooks[1].headers["webhook-signature"].split(" ")) == 1


def test_rotations_at_once_lose_no_secret(services: Services, endpoint: Endpoint) -> None:
    given = at_once(
        *[lambda: webhooks.rotate_secret(services.webhooks, endpoint["id"])["secrets"][0]["secret"]] * 4
    )
    kept = webhooks.get_endpoint(services.webhooks, endpoint["id"])["secrets"]
    assert {one["secret"] for one in kept} == {*given, endpoint["secrets"][0]["secret"]}
    assert [("until" in one) for one in kept] == [False] + [True] * 4


def test_a_delivery_that_is_being_tried_is_not_tried_twice_by_a_replay(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place
) -> None:
    announced(services, place)
    (record,) = records(services, endpoint)

    def replay() -> None:
        assert webhooks.replay(services.webhooks, endpoint["id"], record["id"])["status"] == "pending"
        assert deliver_next(services.webhooks, endpoint["id"]) is None

    assert deliver_next(followed(services, "webhooks", "send", replay).webhooks, endpoint["id"])
    assert len(receiver.hooks) == 1


def test_an_order_that_is_gone_or_was_tampered_with_holds_up_no_other(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place, database: OrderDatabase
) -> None:
    gone, tampered, sound = (order["id"] for order in announced(services, place, 3))
    database["orders"].delete_one({"_id": ObjectId(gone)})
    damage(database, tampered)
    while deliver_next(services.webhooks, endpoint["id"]) is not None:
        pass
    ended = {one["orderId"]: (one["status"], one.get("reason")) for one in records(services, endpoint)}
    assert ended == {gone: ("failed", "order_gone"), tampered: ("pending", None), sound: ("delivered", None)}
    errors = {one["orderId"]: one["attempts"][0].get("error") for one in records(services, endpoint)}
    assert errors == {gone: "order_gone", tampered: "order_unreadable", sound: None}
    assert len(receiver.hooks) == 1


def test_a_fault_of_our_own_is_logged_and_tried_again_by_the_schedule(
    services: Services, endpoint: Endpoint, place: Place, logged: list[Any]
) -> None:
    announced(services, place)

    class Broken:
        def send(self, *_: object) -> Answer:
            raise ZeroDivisionError

    assert deliver_next(with_parts(services, webhooks=Broken()).webhooks, endpoint["id"]) is False  # type: ignore[arg-type]
    assert records(services, endpoint)[0]["attempts"][0]["error"] == "internal"
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["webhook cannot be sent"]


def test_a_purged_order_takes_its_deliveries_along(
    services: Services, clock: StoppedClock, endpoint: Endpoint, place: Place, finish: Finish
) -> None:
    order_id = place()["id"]
    delete_order(services.orders, order_id, actor="u")
    finish(services, order_id)
    announced(services, place)
    announce(services.notifications, [order_id])
    assert len(records(services, endpoint)) == 4
    clock.advance(DAY * 91)
    assert purge_deleted_orders(services.orders) == 1
    assert [one["type"] for one in records(services, endpoint)] == ["order.created"]


def test_no_line_of_the_log_contains_a_secret_or_an_address(
    services: Services, endpoint: Endpoint, receiver: Receiver, place: Place, logged: list[Any]
) -> None:
    announced(services, place, 2)
    receiver.replies.extend([Reply(500), Reply(410)])
    deliver_next(services.webhooks, endpoint["id"])
    deliver_next(services.webhooks, endpoint["id"])
    lines = [line for line in logged if "webhook" in line["event"]]
    assert [line["log_level"] for line in lines] == ["warning", "warning"]
    assert "whsec_" not in repr(lines)
    assert "http" not in repr(lines)


def test_ten_thousand_waiting_for_one_endpoint_hide_no_other(
    services: Services, endpoint: Endpoint, receiver: Receiver, database: OrderDatabase
) -> None:
    """The look for what is due costs a step per endpoint, not per delivery."""
    other = webhooks.add_endpoint(services.webhooks, receiver.url(), ["*"])
    webhooks.send_test_event(services.webhooks, other["id"])
    made = webhooks.send_test_event(services.webhooks, endpoint["id"])
    copies = [{**made, "_id": f"{number:032x}"} for number in range(10_000)]
    for copy in copies:
        del copy["id"]
    database["webhook_deliveries"].insert_many(copies)
    assert endpoints_due(services.webhooks) == sorted([endpoint["id"], other["id"]])
