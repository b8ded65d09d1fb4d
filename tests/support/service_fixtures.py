"""The services over a real mongod, with a clock that stands still until a test moves it."""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import redis
import structlog

from app import schema
from app.config import Settings
from app.mongo.database import connect
from app.orders import steps
from app.orders.processing import perform
from app.orders.service import place_order
from app.payments.sandbox.provider import SandboxProvider
from app.payments.sandbox.store import SandboxBooks
from app.services import services_over
from app.stock.service import set_levels
from app.webhooks.service import add_endpoint
from tasks import relay
from tests.support.books import Books
from tests.support.doubles import Held, StoppedClock, with_parts
from tests.support.emptying import empty
from tests.support.outside import Outside, ProviderEvents
from tests.support.payment_events import SECRET
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.services import Services
    from app.webhooks.model import Endpoint
    from deploy.local.servers import MongoServer


class Place(Protocol):
    """Places an order of so many of each product named, or of one apple."""

    def __call__(
        self, *, method: str | None = None, total: int = 1000, email: str | None = None, **wanted: int
    ) -> Order: ...


class SetStock(Protocol):
    """Sets what is on hand of each product named."""

    def __call__(self, **levels: int) -> None: ...


class Finish(Protocol):
    """Performs all steps that these orders owe, with the given services."""

    def __call__(self, services: Services, *order_ids: str) -> None: ...


@pytest.fixture(scope="session")
def migrated_database(mongo_server: MongoServer) -> Iterator[OrderDatabase]:
    """One database with validators and indexes for all tests of services and storage."""
    database = connect(mongo_server.uri("services"))
    schema.apply(database)
    yield database
    database.client.close()


@pytest.fixture
def database(migrated_database: OrderDatabase) -> OrderDatabase:
    """The database with nothing in it."""
    empty(migrated_database)
    return migrated_database


@pytest.fixture
def clock() -> StoppedClock:
    """Stands still until advanced."""
    return StoppedClock()


@pytest.fixture
def settings() -> Settings:
    """The settings as they are by default."""
    return Settings.from_env({"AUTH": "off"})


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The service's log lines with their fields."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def services(database: OrderDatabase, settings: Settings, clock: StoppedClock, logged: list[Any]) -> Services:
    """Services with a stopped clock and quick payments."""
    return with_parts(
        services_over(database, settings),
        clock=clock,
        payments=SandboxProvider(SandboxBooks(database), clock, slowness=0.01, secret=SECRET),
    )


@pytest.fixture
def books(services: Services, database: OrderDatabase) -> Books:
    """The books, as an auditor reads them."""
    return Books(services, database)


@pytest.fixture
def outside(database: OrderDatabase, services: Services) -> Outside:
    """Actions of others at the provider."""
    return Outside(database, services)


@pytest.fixture
def provider_events(database: OrderDatabase, services: Services) -> ProviderEvents:
    """Posts the payment provider's events."""
    return ProviderEvents(database, services)


@pytest.fixture
def stocked(services: Services) -> SetStock:
    """As in `stocked(apple=10)`."""

    def stock(**levels: int) -> None:
        set_levels(services.stock, levels)

    return stock


@pytest.fixture
def place(services: Services) -> Place:
    """As in `place(apple=2, method="sandbox_ok")`."""

    def order(
        *, method: str | None = None, total: int = 1000, email: str | None = None, **wanted: int
    ) -> Order:
        draft: Any = {
            "userId": "user",
            "products": [
                {"productId": product, "quantity": quantity}
                for product, quantity in (wanted or {"apple": 1}).items()
            ],
            "totalAmount": total,
            "currency": "USD",
            **({"paymentMethod": method} if method else {}),
            **({"email": email} if email else {}),
        }
        return place_order(services.orders, draft, actor="user", key=None, digest="").order

    return order


@pytest.fixture
def finish(books: Books) -> Finish:
    """As in `finish(services, order["id"])`."""

    def work(services: Services, *order_ids: str) -> None:
        for _ in range(8):
            owed = {order_id: books.owed(order_id) for order_id in order_ids}
            if not any(owed.values()):
                return
            for step in steps.STEPS:
                perform(
                    services.orders, step, [order_id for order_id in order_ids if step.name in owed[order_id]]
                )
        raise AssertionError(owed)

    return work


class Queues:
    """The queues of the Celery application on a real broker, with no worker behind them."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def take(self, queue: str) -> list[tuple[str, list[Any]]]:
        """Takes all messages from the queue, oldest first, as task names and arguments."""
        messages = []
        while (raw := self._client.rpop(queue)) is not None:
            message = json.loads(raw)  # type: ignore[arg-type]
            args, _, _ = json.loads(base64.b64decode(message["body"]))
            messages.append((message["headers"]["task"], args))
        return messages


@pytest.fixture
def queues(celery: Celery, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queues]:
    """The broker that the tasks are published to during this test."""
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)

    def reconnect() -> None:
        celery.amqp._producer_pool = celery._pool = None

    reconnect()
    with redis.Redis.from_url(redis_url) as client:
        yield Queues(client)
    celery.pool.force_close_all()
    reconnect()


@pytest.fixture
def relay_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The relay, which stores its resume token more often here."""
    monkeypatch.setattr(relay, "_REMEMBERING", 0.05)
    return relay


@pytest.fixture
def relaying(relay_module: Any, queues: Queues) -> Iterator[Callable[[Services], Callable[[], None]]]:
    """Relays in the background, again and again as the process does; the result stops it in good order."""
    stops: list[Callable[[], None]] = []

    def start(services: Services) -> Callable[[], None]:
        stopping = threading.Event()

        def run() -> None:
            while not stopping.is_set():
                relay_module.relay(services, Held(), stopping)

        thread = threading.Thread(target=run)
        thread.start()

        def stop() -> None:
            stopping.set()
            thread.join(20)
            assert not thread.is_alive()

        stops.append(stop)
        return stop

    yield start
    for stop in stops:
        stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks that accepts everything unless a test changes its reply."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def endpoint(services: Services, receiver: Receiver) -> Endpoint:
    """An endpoint for all events at the receiver; for services that may reach it."""
    return add_endpoint(services.webhooks, receiver.url(), ["*"])
