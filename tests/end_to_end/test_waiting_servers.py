"""A server that is away when the processes start: each says so at once, waits, and works when it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local.stack import ROLES, Stack
from tests.end_to_end.service import accepted, draft, eventually
from tests.support.servers import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploy.local.process import Process
    from deploy.local.servers import Broker, MongoServer

WAITING, BACK = '"event":"waiting for a server"', '"event":"the server answers again"'
BACKGROUND = ("relay", "worker", "beat")


@pytest.fixture
def stack_over(tmp_path: Path) -> Iterator[Callable[[str, str], Stack]]:
    """Makes a stack over servers that may be away; nothing of it is started yet."""
    stacks = []

    def make(mongo_uri: str, redis_url: str) -> Stack:
        servers = {"MONGO_URI": mongo_uri, "REDIS_URL": redis_url}
        stacks.append(Stack(tmp_path / "stack", {"AUTH": "off", "STEP_DEADLINE": "2s", **servers}))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.close()


def test_without_the_broker_each_process_says_at_once_that_it_waits_for_it(
    stack_over: Callable[[str, str], Stack], mongo_uri: str, private_broker: Callable[[], Broker]
) -> None:
    """And again when it is back; what was accepted meanwhile is worked on then."""
    broker = private_broker()
    broker.stop()
    stack = stack_over(mongo_uri, broker.url())
    migrate(stack.env)
    for role in ROLES:
        stack.start(role)
    for process in stack.processes():
        (said, *_) = eventually(lambda process=process: lines(process, WAITING, "broker"))
        assert f'"address":"{broker.url()}"' in said
    stack.wait_ready(["web"])
    order_id = placed(stack)

    broker.start()

    for process in stack.processes():
        eventually(lambda process=process: lines(process, BACK, "broker"))
    eventually(lambda: status(stack, order_id) == "confirmed", timeout=90)


def test_without_the_database_web_refuses_and_the_others_wait(
    stack_over: Callable[[str, str], Stack], redis_url: str, private_mongo: Callable[[], MongoServer]
) -> None:
    """When it is there, all go on by themselves."""
    mongo = private_mongo()
    stack = stack_over(mongo.uri("orders"), redis_url)
    migrate(stack.env)
    mongo.stop()
    for role in ROLES:
        stack.start(role)
    for process in stack.processes(BACKGROUND):
        (said, *_) = eventually(lambda process=process: lines(process, WAITING, "database"))
        assert f'"address":"mongodb://{mongo.address}/orders"' in said
    eventually(lambda: answers(stack, "/healthz") == 200)
    assert answers(stack, "/readyz") == 503

    mongo.start()

    stack.wait_ready()
    for process in stack.processes(BACKGROUND):
        assert lines(process, BACK, "database")
    order_id = placed(stack)
    eventually(lambda: status(stack, order_id) == "confirmed", timeout=90)


def lines(process: Process, event: str, server: str) -> list[str]:
    """The lines of that event and that server, which the process has logged."""
    return [
        line for line in process.output().splitlines() if event in line and f'"server":"{server}"' in line
    ]


def answers(stack: Stack, path: str) -> int:
    """The status of a GET; 0 while nothing listens."""
    try:
        return httpx.get(f"{stack.base_url}{path}", timeout=30, trust_env=False).status_code
    except httpx.TransportError:
        return 0


def placed(stack: Stack) -> str:
    """The id of an order just posted."""
    return accepted(httpx.post(f"{stack.base_url}/orders", json=draft(), timeout=30, trust_env=False))


def status(stack: Stack, order_id: str) -> str:
    """The order's status."""
    return str(httpx.get(f"{stack.base_url}/orders/{order_id}", timeout=30, trust_env=False).json()["status"])
