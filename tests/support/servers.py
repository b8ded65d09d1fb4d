"""Real servers and processes for the tests: shared where harmless, private where a test breaks them."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import redis
from pymongo import MongoClient

from app.config import Settings
from app.migrations import upgrade
from app.mongo.database import connect
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


@contextlib.contextmanager
def _empty_database(server: MongoServer) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    yield server.uri(name)
    with MongoClient[dict[str, object]](server.uri("admin")) as client:
        client.drop_database(name)


def _empty_broker(server: Broker) -> str:
    url = server.url(next(DATABASE_NUMBERS) % server.databases)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def mongo_uri(mongo_server: MongoServer) -> Iterator[str]:
    """A MONGO_URI of a database of the test's own, empty, with no migration run."""
    with _empty_database(mongo_server) as uri:
        yield uri


@pytest.fixture
def redis_url(broker_server: Broker) -> str:
    """A REDIS_URL of an empty database, the test's own until the run has used them all up."""
    return _empty_broker(broker_server)


@pytest.fixture
def private_mongo(tmp_path: Path) -> Iterator[Callable[..., MongoServer]]:
    """Starts a mongod that the test may stop, kill and restart; the options are those of `MongoServer`."""
    with contextlib.ExitStack() as servers:

        def start(**options: Any) -> MongoServer:
            server = MongoServer(tmp_path / f"mongod-{uuid.uuid4().hex}", **options)
            servers.callback(server.kill)
            return server.start()

        yield start


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


def migrate(environ: Mapping[str, str]) -> None:
    """Migrates the database of these settings in this process, which is quicker than in one of its own."""
    settings = Settings.from_env(environ)
    database = connect(settings.mongo_uri, patience=None)
    with database.client:
        list(upgrade(database, settings, lambda _: contextlib.nullcontext(lambda *_: None)))


@contextlib.contextmanager
def _stacks(directory: Path, server: Callable[[str], str]) -> Iterator[StackStarter]:
    """Starts stacks, and kills them at the end, when nobody needs anything more of them."""
    with contextlib.ExitStack() as ending:

        def start(
            *,
            mongo_uri: str | None = None,
            redis_url: str | None = None,
            settings: Mapping[str, str] | None = None,
            roles: Mapping[str, int] | None = None,
        ) -> Stack:
            servers = {
                "MONGO_URI": mongo_uri or server("mongo_uri"),
                "REDIS_URL": redis_url or server("redis_url"),
            }
            environ = {"AUTH": "off", "WEB_CONCURRENCY": "1", **servers, **(settings or {})}
            stack = Stack(directory / f"a stack {uuid.uuid4().hex}", environ)
            migrate(stack.env)
            for role in ROLES:
                ending.callback(stack.kill, role)
            for role, number in (roles or dict.fromkeys(ROLES, 1)).items():
                for _ in range(number):
                    stack.start(role)
            stack.wait_ready()
            return stack

        yield start


@pytest.fixture
def start_stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StackStarter]:
    """Starts web, relay, worker and beat against the given servers, or else the run's, migrated and ready.

    `roles` says how many of each, one by default; a role left out is not started. `settings` are environment
    variables for all of them; a web process has one worker unless they say otherwise. Any number of stacks
    may run at once; all end with the test.
    """
    with _stacks(tmp_path, request.getfixturevalue) as start:
        yield start


@pytest.fixture(scope="module")
def start_shared_stack(
    mongo_server: MongoServer, broker_server: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackStarter]:
    """As `start_stack`, for all tests of a module that only use what it starts."""
    with _empty_database(mongo_server) as mongo_uri:
        servers = {"mongo_uri": mongo_uri, "redis_url": _empty_broker(broker_server)}
        with _stacks(tmp_path_factory.mktemp("stacks"), servers.__getitem__) as start:
            yield start


@pytest.fixture
def stack(start_stack: StackStarter) -> Stack:
    """The whole service, one process of each role, on a database of the test's own."""
    return start_stack()
