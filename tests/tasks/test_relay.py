"""The relay between a real change stream and a real broker: interruptions lose nothing that is owed."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import OperationFailure

from app import schema
from app.errors import DatabaseUnavailable
from app.mongo.database import connect
from app.orders import steps
from app.orders.changes_store import OrderChanges, ResumeTokenLost
from app.orders.processing import perform
from app.orders.service import change_status
from tests.support.doubles import Followed, Held, eventually, with_parts

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from deploy.local.servers import MongoServer
    from tests.support.service_fixtures import Place, Queues, SetStock

DAMAGED = {
    "not a token": {"_data": "garbage"},
    "another server's": {"_data": "8200000000000000000000"},
    "another version's": {"token": 1},
}


class Heard:
    """The messages published so far, by the names of the tasks."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self.tasks: list[tuple[str, list[str]]] = []

    def orders(self, name: str) -> list[str]:
        """The ids that went out with this task, in order, repetitions too."""
        for queue in ("payments", "stock", "notifications"):
            self.tasks += [(task, args[0]) for task, args in self._queues.take(queue)]
        return [order_id for task, ids in self.tasks if task == name for order_id in ids]


@pytest.fixture
def heard(queues: Queues) -> Heard:
    """The workers' side of the broker."""
    return Heard(queues)


def test_every_change_is_published_as_the_steps_it_sets_in_motion(
    services: Services, place: Place, stocked: SetStock, relaying: Any, heard: Heard
) -> None:
    relaying(services)
    eventually(services.changes.resume_token)
    stocked(apple=5)
    order_id = place(apple=1)["id"]
    eventually(lambda: heard.orders(steps.AUTHORIZE.name) == [order_id])
    for step, following in ((steps.AUTHORIZE, steps.DECREMENT), (steps.DECREMENT, steps.CAPTURE)):
        perform(services.orders, step, [order_id])
        eventually(lambda name=following.name: heard.orders(name) == [order_id])  # type: ignore[misc]
    perform(services.orders, steps.CAPTURE, [order_id])
    eventually(lambda: heard.orders(steps.ANNOUNCE.name) == [order_id])
    change_status(services.orders, order_id, "cancelled", actor="u")
    for ending in (steps.VOID, steps.REFUND, steps.RESTOCK):
        eventually(lambda name=ending.name: heard.orders(name) == [order_id])  # type: ignore[misc]


def test_a_busy_queue_is_given_many_orders_in_few_messages(
    services: Services, place: Place, relaying: Any, heard: Heard, queues: Queues
) -> None:
    stop = relaying(services)
    eventually(services.changes.resume_token)
    ids = [place()["id"] for _ in range(100)]
    eventually(lambda: set(heard.orders(steps.AUTHORIZE.name)) == set(ids))
    stop()
    messages = [batch for name, batch in heard.tasks if name == steps.AUTHORIZE.name]
    assert Counter(order_id for batch in messages for order_id in batch) == Counter(ids)
    assert len(messages) < 20


def test_a_relay_continues_where_the_last_one_ended(
    services: Services, place: Place, relaying: Any, heard: Heard
) -> None:
    stop = relaying(services)
    eventually(services.changes.resume_token)
    first = place()["id"]
    eventually(lambda: heard.orders(steps.AUTHORIZE.name) == [first])
    stop()
    missed = [place()["id"] for _ in range(5)]
    relaying(services)
    eventually(lambda: len(heard.orders(steps.AUTHORIZE.name)) >= 6)
    assert heard.orders(steps.AUTHORIZE.name) == [first, *missed]


def test_the_first_relay_of_all_publishes_all_earlier_steps(
    services: Services, place: Place, relaying: Any, heard: Heard
) -> None:
    ids = [place()["id"] for _ in range(5)]
    assert services.changes.resume_token() is None
    relaying(services)
    eventually(lambda: set(heard.orders(steps.AUTHORIZE.name)) == set(ids))
    eventually(services.changes.resume_token)


@pytest.mark.parametrize("token_then", DAMAGED.values(), ids=DAMAGED)
def test_after_a_lost_resume_token_the_relay_publishes_everything_owed_and_follows(
    token_then: Any, services: Services, place: Place, relaying: Any, heard: Heard, logged: list[Any]
) -> None:
    before = [place()["id"] for _ in range(3)]
    services.changes.remember(token_then)
    relaying(services)
    eventually(lambda: set(heard.orders(steps.AUTHORIZE.name)) == set(before))
    eventually(lambda: services.changes.resume_token() != token_then)
    after = place()["id"]
    eventually(lambda: heard.orders(steps.AUTHORIZE.name)[-1] == after)
    warned = [line["log_level"] for line in logged if line["event"] != "published"]
    assert warned == ["warning"]


def test_changes_missing_from_the_oplog_are_read_from_the_index_of_due_work(
    services: Services, place: Place, relaying: Any, heard: Heard, database: OrderDatabase
) -> None:
    real, lost = database["orders"], OperationFailure("Resume of change stream was not possible", 286)

    class Forgetful:
        """Cannot resume from the stored token."""

        def watch(self, *args: Any, **options: Any) -> Any:
            if options.get("resume_after") == {"old": True}:
                raise lost
            return real.watch(*args, **options)

    services.changes._orders = Forgetful()  # type: ignore[assignment]
    order_id = place()["id"]
    services.changes.remember({"old": True})
    relaying(services)
    eventually(lambda: heard.orders(steps.AUTHORIZE.name) == [order_id])
    eventually(lambda: services.changes.resume_token() != {"old": True})


def test_two_relays_at_once_lose_nothing(
    services: Services, place: Place, relaying: Any, heard: Heard
) -> None:
    for _ in range(2):
        relaying(services)
    eventually(services.changes.resume_token)
    ids = [place()["id"] for _ in range(20)]
    eventually(lambda: set(heard.orders(steps.AUTHORIZE.name)) == set(ids))


def test_a_resume_token_is_not_stored_before_all_up_to_it_is_published(
    services: Services,
    place: Place,
    relaying: Any,
    heard: Heard,
    relay_module: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = relaying(services)
    eventually(services.changes.resume_token)
    stop()
    settled = services.changes.resume_token()
    monkeypatch.setattr(relay_module, "free_tasks", lambda: lambda name: name == steps.ANNOUNCE.name)
    change_status(services.orders, place()["id"], "cancelled", actor="u")
    stop = relaying(services)
    eventually(lambda: heard.orders(steps.ANNOUNCE.name))
    stop()
    assert heard.orders(steps.AUTHORIZE.name) == []
    assert services.changes.resume_token() == settled
    monkeypatch.undo()


def test_a_relay_that_loses_its_lease_ends(services: Services, relay_module: Any, queues: Queues) -> None:
    lease = Held()
    thread = threading.Thread(target=relay_module.relay, args=(services, lease, threading.Event()))
    thread.start()
    eventually(services.changes.resume_token)
    assert thread.is_alive()
    lease.taken = True
    thread.join(10)
    assert not thread.is_alive()


def test_an_outage_of_the_database_is_raised_and_no_token_is_stored(
    services: Services, place: Place, relay_module: Any, queues: Queues
) -> None:
    def outage() -> None:
        raise DatabaseUnavailable

    changes: Any = Followed(services.changes, "present_resume_token", outage)
    with pytest.raises(DatabaseUnavailable):
        relay_module.relay(with_parts(services, changes=changes), Held(), threading.Event())
    assert services.changes.resume_token() is None


def test_a_follower_without_a_reader_still_ends(services: Services, place: Place) -> None:
    before = threading.active_count()
    present = services.changes.present_resume_token()
    with services.changes.follow(present) as follower:
        follower._arrived.maxsize = 1
        ids = [place()["id"] for _ in range(5)]
        eventually(follower._arrived.full)
    eventually(lambda: threading.active_count() <= before)
    with services.changes.follow(present) as follower:
        taken: list[str] = []
        while len(taken) < len(ids):
            taken += [change.order_id for change in follower.take(1)]
    assert taken == ids


def test_a_stream_that_ends_with_its_collection_raises(mongo_server: MongoServer) -> None:
    """A restore drops the collection first."""
    database = connect(mongo_server.uri("dropped"))
    schema.apply(database)
    changes = OrderChanges(database)
    with changes.follow(changes.present_resume_token()) as follower:
        assert follower.take(0.1) == []
        database["orders"].drop()
        with pytest.raises(ResumeTokenLost):
            eventually(lambda: follower.take(1))
    database.client.close()


def test_a_fault_of_the_stream_comes_after_the_changes_before_it_and_stays(services: Services) -> None:
    with services.changes.follow({"_data": "garbage"}) as follower:
        for _ in range(2):
            with pytest.raises(ResumeTokenLost):
                follower.take(5)
