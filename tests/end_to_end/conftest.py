"""The whole service, started for a test alone to break it, or once for those that only use it."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from deploy.local.mailbox import Mailbox
from deploy.local.stack import ROLES, Stack
from tests.end_to_end.service import Service
from tests.support.nginx import Nginx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.local.servers import Broker, MongoServer
    from tests.support.servers import StackStarter

# A step that was lost is sent again soon enough for a test to wait for it.
IMPATIENT = {"STEP_DEADLINE": "2s"}


class ServiceStarter(Protocol):
    """Starts a stack and opens a client of it; the arguments are those of `start_stack`."""

    def __call__(self, **arguments: Any) -> Service: ...


@contextlib.contextmanager
def _services(start_stack: StackStarter) -> Iterator[ServiceStarter]:
    with contextlib.ExitStack() as clients:

        def start(**arguments: Any) -> Service:
            arguments["settings"] = {**IMPATIENT, **arguments.get("settings", {})}
            service = Service(start_stack(**arguments))
            clients.callback(service.close)
            return service

        yield start


@pytest.fixture
def serve(
    private_mongo: object, private_broker: object, start_stack: StackStarter
) -> Iterator[ServiceStarter]:
    """Starts a service of the test's own, impatient unless its settings say otherwise.

    Servers of the test's own, where it starts any, outlive it.
    """
    with _services(start_stack) as start:
        yield start


@pytest.fixture(scope="module")
def serve_all(start_shared_stack: StackStarter) -> Iterator[ServiceStarter]:
    """As `serve`, for all tests of a module that only use the service."""
    with _services(start_shared_stack) as start:
        yield start


class ProxyStarter(Protocol):
    """Starts an nginx before what listens on a port; the arguments are those of `Nginx`."""

    def __call__(self, behind: int, *parts: str, changes: dict[str, str] | None = None) -> Nginx: ...


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[ProxyStarter]:
    """Starts an nginx of the test's own."""
    with contextlib.ExitStack() as proxies:

        def start(behind: int, *parts: str, changes: dict[str, str] | None = None) -> Nginx:
            directory = tmp_path / f"nginx-{uuid.uuid4().hex}"
            return proxies.enter_context(Nginx(directory, behind, parts, changes))

        yield start


@pytest.fixture(scope="session")
def post_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    """Where the mails of the shared service arrive."""
    box = Mailbox(tmp_path_factory.mktemp("mail")).start()
    yield box
    box.stop()


@pytest.fixture(scope="session")
def service(
    mongo_server: MongoServer,
    broker_server: Broker,
    post_office: Mailbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """One service for all tests that only use it; each has customers and products of its own."""
    settings = {
        "AUTH": "off",
        "MONGO_URI": mongo_server.uri("shared"),
        # The last database, the one that the tests' own come to last.
        "REDIS_URL": broker_server.url(broker_server.databases - 1),
        "SMTP_URL": post_office.url,
        "MAIL_FROM": "The Shop <shop@example.org>",
    }
    with Stack(tmp_path_factory.mktemp("shared stack"), settings) as stack:
        stack.migrate()
        for role in ROLES:
            stack.start(role)
        stack.wait_ready()
        with contextlib.closing(Service(stack)) as service:
            yield service
