"""An order whose document is damaged stops no batch, no stream, no channel and no endpoint for the others."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.feed.store import Entry
from app.notifications.announce import deliver
from app.notifications.model import Delivery
from app.orders.model import Change, advance
from app.orders.service import change_status
from app.webhooks.delivery import deliver_next
from app.webhooks.sender import WebhookSender
from tests.support.announcing import announce
from tests.support.damage import NO_TIME, OF_THE_LOG, UNDECODABLE, damage
from tests.support.doubles import eventually, with_parts
from tests.support.hooks import announced, records

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from app.mongo.database import OrderDatabase
    from app.notifications.model import Notification
    from app.orders.model import Order
    from app.services import Services
    from app.webhooks.model import Endpoint
    from tests.support.doubles import StoppedClock
    from tests.support.receiver import Receiver
    from tests.support.service_fixtures import Place

pytestmark = pytest.mark.slow

MINUTE = timedelta(minutes=1)
# Damage that makes a past order unreadable. Other damage shows when a channel makes its text.
UNFOLDABLE = {**UNDECODABLE, **OF_THE_LOG}
del UNFOLDABLE["an event whose data are no order"]


@pytest.fixture
def services(services: Services) -> Services:
    """Services that may send webhooks to this machine."""
    return with_parts(services, webhooks=WebhookSender(allow_private=True, seconds=5))


class Post:
    """A channel that announces everything, and reads what a mail would read."""

    name, instant = "post", False

    def __init__(self) -> None:
        self.announced: list[str] = []

    def wants(self, order: Order, event_type: str) -> bool:
        """Everything."""
        return True

    def deliver(self, notifications: Sequence[tuple[Notification, Order]]) -> Generator[Delivery]:
        """Always sent."""
        for _, order in notifications:
            self.announced.append(order["id"])
            yield Delivery("sent")


@pytest.mark.parametrize("name", UNDECODABLE)
def test_every_batch_holds_the_others_and_the_id_of_the_one(
    services: Services,
    place: Place,
    database: OrderDatabase,
    clock: StoppedClock,
    logged: list[Any],
    name: str,
) -> None:
    bad, *good = (place(email="a@example.org")["id"] for _ in range(3))
    damage(database, bad, UNDECODABLE[name])
    clock.advance(MINUTE)
    batches = {
        "loaded": services.orders.store.load([bad, *good]),
        "with logs": services.orders.store.load_with_logs([bad, *good]),
        "overdue": services.orders.due_work.overdue(clock(), 10),
        "owing": services.orders.due_work.owing(None, 10),
        "to expire": services.orders.store.pending_since_before(clock(), 10),
    }
    for batch in batches.values():
        found = {order["id"]: order for order in batch}
        assert found.keys() == {bad, *good}
        assert all("status" in found[order_id] for order_id in good)
    for batch in (batches["loaded"], batches["with logs"], batches["to expire"]):
        assert {"id", "userId", "dueBy"} in [order.keys() for order in batch]
    errors = [line for line in logged if line["log_level"] == "error"]
    assert {(line["event"], line["order_id"]) for line in errors} == {("order cannot be decoded", bad)}


def test_a_batch_of_changes_with_a_damaged_log_in_it_says_which_were_written(
    services: Services, place: Place, database: OrderDatabase
) -> None:
    """One of them was damaged after it was loaded, and another has moved on."""
    ids = [place()["id"] for _ in range(3)]
    before = services.orders.store.load(ids)
    changes = [
        (order, advance(order, services.clock(), "t", [Change("payment.authorized", {"reference": "r"})]))
        for order in before
    ]
    change_status(services.orders, ids[1], "cancelled", actor="u")
    damage(database, ids[2], {"$set": {"version": 7}, "$unset": {"events": ""}})
    assert sorted(services.orders.store.append_all(changes, services.orders.due_by())) == sorted(ids[1:])


@pytest.mark.parametrize("name", UNFOLDABLE)
def test_the_others_are_announced_and_the_one_is_retried(
    services: Services, place: Place, database: OrderDatabase, logged: list[Any], name: str
) -> None:
    post = Post()
    services = with_parts(services, channels=(post,))
    bad, *good = (place(email="a@example.org")["id"] for _ in range(3))
    change_status(services.orders, bad, "cancelled", actor="u")
    wanted = announce(services.notifications, [bad, *good]).notifications
    damage(database, bad, UNFOLDABLE[name])
    deliver(services.notifications, wanted)
    assert set(good) <= set(post.announced)
    kept = {one["_id"]: one["status"] for one in database["notifications"].find()}
    assert {kept[f"{order_id}:1:post"] for order_id in good} == {"sent"}
    assert kept[f"{bad}:2:post"] == "pending"
    assert {line["order_id"] for line in logged if line["log_level"] == "error"} == {bad}


@pytest.mark.parametrize("name", {**UNDECODABLE, **OF_THE_LOG})
def test_an_endpoint_hears_of_the_others_and_the_one_waits_for_its_next_try(
    services: Services,
    endpoint: Endpoint,
    receiver: Receiver,
    place: Place,
    database: OrderDatabase,
    clock: StoppedClock,
    name: str,
) -> None:
    bad, *good = (order["id"] for order in announced(services, place, 3))
    change_status(services.orders, bad, "cancelled", actor="u")
    announce(services.notifications, [bad])
    damage(database, bad, {**UNDECODABLE, **OF_THE_LOG}[name])
    outcomes = []
    while (outcome := deliver_next(services.webhooks, endpoint["id"])) is not None:
        outcomes.append(outcome)
    assert outcomes == [True] * 4
    assert set(good) <= {json.loads(hook.body)["data"]["order"]["id"] for hook in receiver.hooks}
    (waiting,) = (one for one in records(services, endpoint) if (one["orderId"], one["sequence"]) == (bad, 2))
    assert (waiting["status"], waiting["attempts"][0]["error"]) == ("pending", "order_unreadable")
    assert waiting["dueBy"] > clock()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "order.flown"},
        {"type": 5},
        {"type": ["order.shipped"]},
        {"sequence": "second"},
        {"at": NO_TIME},
        {"data": {"$ref": 1, "$id": NO_TIME}},
    ],
    ids=str,
)
def test_the_change_stream_and_the_feed_go_on_behind_a_change_that_cannot_be_read(
    services: Services, place: Place, database: OrderDatabase, relaying: Any, event: dict[str, Any]
) -> None:
    stop = relaying(services)
    eventually(services.changes.resume_token)
    bad = place()["id"]
    (order,) = services.orders.store.load([bad])
    pushed = {**order["events"][0], "sequence": 2, "type": "order.cancelled", **event}
    damage(database, bad, {"$set": {"version": 2}, "$push": {"events": pushed}})
    good = place()["id"]
    eventually(lambda: any(str(row["orderId"]) == good for row in database["feed"].find()))
    stop()
    relaying(services)
    last = place()["id"]
    eventually(lambda: any(str(row["orderId"]) == last for row in database["feed"].find()))


def test_an_event_of_no_known_type_is_left_out_of_the_feed_and_logged(
    services: Services, database: OrderDatabase, logged: list[Any]
) -> None:
    first, bad, last = (str(ObjectId()) for _ in range(3))
    entries = [
        Entry(first, 1, "order.created"),
        Entry(bad, 1, "order.flown"),
        Entry(last, 1, "order.created"),
    ]
    services.feed.store.append(entries)
    assert [(row["_id"], str(row["orderId"])) for row in database["feed"].find()] == [(1, first), (2, last)]
    assert [(line["event"], line["order_id"]) for line in logged] == [("event cannot be fed", bad)]
