"""A worker that takes nothing though messages wait ends itself, and lost connections make none so."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from deploy.local.stack import ROOT
from tasks import hearing
from tasks.hearing import EXIT_CODE, Hearing
from tests.end_to_end.service import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery import Celery

    from deploy.local.process import Process
    from deploy.local.servers import Broker
    from tests.support.servers import StackStarter

RESETS = 200


class Ears:
    """A worker as its hearing sees it."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {"payments": 1}
        self.busy = False
        self.hearing = Hearing(lambda: self.waiting, lambda: self.busy)

    def looks(self, number: int) -> int:
        """Looks so often. Returns the silent looks in a row."""
        return [self.hearing.silent_looks() for _ in range(number)][-1]


def test_looks_at_waiting_messages_with_nothing_taken_add_up() -> None:
    assert Ears().looks(7) == 7


@pytest.mark.parametrize("waiting", [{}, {"payments": 0, "stock": 0}])
def test_without_a_waiting_message_or_a_broker_no_worker_is_deaf(waiting: dict[str, int]) -> None:
    ears = Ears()
    ears.looks(7)
    ears.waiting = waiting
    assert ears.looks(1) == 0


def test_a_worker_with_all_processes_at_work_is_not_deaf() -> None:
    ears = Ears()
    ears.looks(7)
    ears.busy = True
    assert ears.looks(50) == 0
    ears.busy = False
    assert ears.looks(2) == 2


def test_a_worker_that_takes_a_message_now_and_then_is_not_deaf() -> None:
    ears = Ears()
    for _ in range(5):
        ears.hearing.took(sender=None, request=None)
        assert ears.looks(8) == 7


def test_a_message_taken_during_a_look_counts() -> None:
    ears = Ears()
    ears.looks(7)

    def waiting() -> dict[str, int]:
        ears.hearing.took()
        return {"payments": 1}

    ears.hearing._waiting = waiting
    assert ears.looks(1) == 0


def test_a_worker_is_deaf_after_a_minute() -> None:
    assert hearing.PATIENCE / hearing._EVERY == 60


@pytest.fixture
def send(celery: Celery) -> Callable[[str], None]:
    """Publishes a task for an order that does not exist to the broker with this URL."""

    def publish(url: str) -> None:
        with celery.connection_for_write(url) as connection:
            celery.send_task("payments.authorize", args=(["0" * 24],), connection=connection)

    return publish


@pytest.fixture
def ears_off(tmp_path: Path) -> dict[str, str]:
    """The settings of a worker that soon notices that it is deaf, and that is deaf once `DEAF` exists."""
    paths = [str(ROOT / "tests/support/deaf"), str(ROOT)]
    return {"PYTHONPATH": os.pathsep.join(paths), "DEAF": str(tmp_path / "deaf")}


@pytest.mark.parametrize("hangs", [False, True], ids=["its loop goes on", "its loop hangs"])
def test_a_deaf_worker_ends_itself_and_the_next_one_takes_its_work(
    start_stack: StackStarter,
    redis_url: str,
    send: Callable[[str], None],
    ears_off: dict[str, str],
    hangs: bool,
) -> None:
    stack = start_stack(redis_url=redis_url, roles={"worker": 0})
    worker = stack.start("worker", **ears_off)
    stack.wait_ready(["worker"])
    send(redis_url)
    eventually(lambda: done(worker) == 1)

    path = ears_off["DEAF"]
    with open(path, "w") as file:  # noqa: PTH123
        file.write("hangs" if hangs else "")
    with redis.Redis.from_url(redis_url) as client:
        # The worker may take one more, since it has asked for it already.
        while not client.llen("payments"):
            send(redis_url)
            time.sleep(0.1)
    eventually(lambda: not worker.running, 30)
    assert worker.exit_code == EXIT_CODE
    assert "worker takes no messages and ends itself" in worker.output()

    supervised = stack.start("worker")
    eventually(lambda: done(supervised) >= 1)


@pytest.mark.timeout(400)
def test_two_hundred_broken_connections_leave_no_worker_deaf(
    start_stack: StackStarter, private_broker: Callable[[], Broker], send: Callable[[str], None]
) -> None:
    """Some at rest, some while the worker still connects again."""
    url = private_broker().url()
    stack = start_stack(redis_url=url, roles={"worker": 2})
    workers = stack.processes(["worker"])
    chance = random.Random(7)
    with redis.Redis.from_url(url) as client:
        for reset in range(RESETS):
            if reset % 2:
                eventually(lambda: listening(client) >= 2)
            else:
                time.sleep(chance.random() / 20)
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    before = [done(worker) for worker in workers]

    def each_took_some() -> bool:
        send(url)
        return all(done(worker) > number for worker, number in zip(workers, before, strict=True))

    eventually(each_took_some, 60)
    assert all(worker.running for worker in workers)


def done(worker: Process) -> int:
    """The tasks that this worker has done."""
    return worker.output().count("task done")


def listening(client: redis.Redis) -> int:
    """The connections that wait for a message."""
    clients: Any = client.client_list()
    return sum(one["cmd"] == "brpop" for one in clients)
