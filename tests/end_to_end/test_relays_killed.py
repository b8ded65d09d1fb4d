"""The relay may die, be there twice, or say everything twice: the end is the same."""

from __future__ import annotations

import json
import random
import threading
import uuid
from typing import TYPE_CHECKING, Self

import redis

from tests.end_to_end import books
from tests.end_to_end.service import Load, draft, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.process import Process
    from deploy.local.servers import Broker
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

QUEUES = ("payments", "stock", "notifications", "maintenance")
LEASE = "lease:relay"


def test_orders_are_done_once_though_the_relay_is_killed_again_and_again(serve: ServiceStarter) -> None:
    """The next one goes on where the last one's place was remembered, once its lease has run out."""
    service = serve()
    service.set_stock("relayed", 10_000)
    with Load(service, product="relayed") as load:
        for _ in range(5):
            load.wait_for(30)
            service.stack.kill("relay")
            relay = service.stack.start("relay")
            eventually(lambda relay=relay: _times_taken_up(relay))
        load.wait_for(30)

    _all_confirmed_once(service, load)


def test_two_relays_at_once_do_no_harm(serve: ServiceStarter) -> None:
    """The one that holds the lease works; where it is taken away, both work for a while."""
    service = serve(roles={"web": 1, "relay": 2, "worker": 1, "beat": 1})
    service.set_stock("relayed", 10_000)
    relays = service.stack.processes(["relay"])
    assert sorted(_times_taken_up(relay) for relay in relays) == [0, 1]
    with Load(service, product="relayed") as load:
        while not all(map(_times_taken_up, relays)):
            service.broker.delete(LEASE)
            load.wait_for(5)
        for _ in range(20):
            # Neither finds that the other has it.
            service.broker.delete(LEASE)
            load.wait_for(5)

    _all_confirmed_once(service, load)


def test_every_task_sent_twice_and_out_of_order_is_done_once(
    serve: ServiceStarter, private_broker: Callable[[], Broker]
) -> None:
    """Every message of relay and beat passes through a broker that doubles and shuffles messages."""
    spoken_to, listened_to = private_broker(), private_broker()
    service = serve(redis_url=spoken_to.url(), roles={"web": 1, "relay": 1, "beat": 1})
    service.stack.start("worker", REDIS_URL=listened_to.url())
    service.set_stock("doubled", 10_000)
    with Doubling(spoken_to.url(), listened_to.url()) as doubling:
        ids = service.place_all([draft("doubled")] * 150)
        service.come_to_rest(ids)

    # At the least: creation, authorization, decrement and announcements, however many orders share a message.
    assert doubling.doubled >= 8
    assert service.faults_logged() == []
    assert service.count(ids, status="confirmed") == len(ids)
    assert service.on_hand("doubled") == 10_000 - len(ids)
    assert books.faults(service, ids) == []


class Doubling:
    """Moves the messages of one broker to another, each twice and none in order, until the block ends."""

    def __init__(self, source: str, target: str) -> None:
        self._source = redis.Redis.from_url(source)
        self._target = redis.Redis.from_url(target)
        self._ending = threading.Event()
        self._mover = threading.Thread(target=self._move)
        self.doubled = 0

    def _move(self) -> None:
        while not self._ending.wait(0.02):
            for queue in QUEUES:
                messages = self._source.rpop(queue, 1_000) or []
                copies = [self._copy(message) for message in messages for _ in range(2)]
                random.shuffle(copies)
                if copies:
                    self._target.lpush(queue, *copies)
                    self.doubled += len(messages)

    @staticmethod
    def _copy(message: bytes) -> str:
        copy = json.loads(message)
        copy["properties"]["delivery_tag"] = str(uuid.uuid4())
        return json.dumps(copy)

    def __enter__(self) -> Self:
        self._mover.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._mover.join()
        self._source.close()
        self._target.close()


def _times_taken_up(relay: Process) -> int:
    return relay.output().count("relay works")


def _all_confirmed_once(service: Service, load: Load) -> None:
    ids = load.order_ids()
    assert {answer.status for answer in load.answers} == {201}
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == len(ids)
    assert service.on_hand("relayed") == 10_000 - len(ids)
    assert service.faults_logged() == []
    assert books.faults(service, service.order_ids()) == []
