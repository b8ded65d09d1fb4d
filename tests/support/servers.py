"""Real servers and processes for the tests: shared where harmless, private where a test breaks them."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from typing import TYPE_CHECKING, Protocol

import pytest
import redis
from pymongo import MongoClient

from deploy.local.mailbox import Mailbox
from deploy.local.servers import Broker, MongoServer
from deploy.local.stack import ROLES, Stack
from tests.support.stripe_server import StripeServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

DATABASE_NUMBERS = itertools.count()


class StackStarter(Protocol):
    """Starts the service's processes; see the fixture `start_stack`."""

    def __call__(
        self,
        *,
        mongo_uri: str | None = None,
        redis_url: str | None = None,
        settings: Mapping[str, str] | None = None,
        roles: Mapping[str, int] | None = None,
    ) -> Stack: ...


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """The mongod of the whole run, never to be stopped by a test."""
    with MongoServer(tmp_path_factory.mktemp("mongod of the run")) as server:
        yield server


@pytest.fixture(scope="session")
def broker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of the whole run, never to be stopped by a test."""
    with Broker(tmp_path_factory.mktemp("valkey of the run")) as server:
        yield server


@pytest.fixture(scope="session")
def stripe_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StripeServer]:
    """The Stripe of the whole run; see `stripe_server`."""
    with StripeServer(tmp_path_factory.mktemp("stripe")) as server:
        yield server


@pytest.fixture
def stripe_server(stripe_of_the_run: StripeServer) -> Iterator[StripeServer]:
    """A Stripe that fails only as the test asks."""
    yield stripe_of_the_run
    stripe_of_the_run.fail_no_more()


@pytest.fixture
def mongo_uri(mongo_server: MongoServer) -> Iterator[str]:
    """A MONGO_URI of a database of the test's own, empty, with no migration run."""
    name = f"test_{uuid.uuid4().hex}"
    yield mongo_server.uri(name)
    with MongoClient[dict[str, object]](mongo_server.uri("admin")) as client:
        client.drop_database(name)


@pytest.fixture
def redis_url(broker_server: Broker) -> str:
    """A REDIS_URL of an empty database, the test's own until the run has used them all up."""
    url = broker_server.url(next(DATABASE_NUMBERS) % broker_server.databases)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def private_mongo(tmp_path: Path) -> Iterator[Callable[..., MongoServer]]:
    """Starts a mongod that the test may stop, kill and restart; the options are those of `MongoServer`."""
    with contextlib.ExitStack() as servers:
        yield lambda **options: servers.enter_context(
            MongoServer(tmp_path / f"mongod-{uuid.uuid4().hex}", **options)
        )


@pytest.fixture
def private_broker(tmp_path: Path) -> Iterator[Callable[[], Broker]]:
    """Starts a broker that the test may stop, kill and restart."""
    with contextlib.ExitStack() as servers:
        yield lambda: servers.enter_context(Broker(tmp_path / f"valkey-{uuid.uuid4().hex}"))


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    """A real SMTP server that writes what it takes into files."""
    box = Mailbox(tmp_path / "mail").start()
    yield box
    box.stop()


@pytest.fixture
def start_stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StackStarter]:
    """Starts web, relay, worker and beat against the given servers, or else the run's, migrated and ready.

    `roles` says how many of each, one by default; a role left out is not started. `settings` are environment
    variables for all of them. Any number of stacks may run at once; all end with the test.
    """
    with contextlib.ExitStack() as stacks:

        def start(
            *,
            mongo_uri: str | None = None,
            redis_url: str | None = None,
            settings: Mapping[str, str] | None = None,
            roles: Mapping[str, int] | None = None,
        ) -> Stack:
            servers = {
                "MONGO_URI": mongo_uri or request.getfixturevalue("mongo_uri"),
                "REDIS_URL": redis_url or request.getfixturevalue("redis_url"),
            }
            directory = tmp_path / f"a stack {uuid.uuid4().hex}"
            stack = stacks.enter_context(Stack(directory, {"AUTH": "off", **servers, **(settings or {})}))
            stack.migrate()
            for role, number in (roles or dict.fromkeys(ROLES, 1)).items():
                for _ in range(number):
                    stack.start(role)
            stack.wait_ready()
            return stack

        yield start


@pytest.fixture
def stack(start_stack: StackStarter) -> Stack:
    """The whole service, one process of each role, on a database of the test's own."""
    return start_stack()
