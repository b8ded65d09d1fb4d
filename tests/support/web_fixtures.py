"""The web application over a real mongod, called as WSGI, and the workers' steps done when a test says so."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.config import Settings
from app.feed.cursors_store import FeedCursors
from app.mongo.database import connect
from app.orders import steps
from app.orders.processing import perform
from app.services import services_over
from tests.support.emptying import empty
from tests.support.payment_events import SECRET
from tests.support.servers import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    from app.services import Services
    from deploy.local.servers import MongoServer

# A port on which nothing listens: the API needs no broker.
NO_BROKER = "redis://127.0.0.1:1/0"
SAMPLE = {
    "userId": "user-id",
    "products": [{"productId": "product-id", "quantity": 2}],
    "totalAmount": 200.00,
}


@pytest.fixture(scope="session")
def migrated(mongo_server: MongoServer) -> Iterator[Database[dict[str, Any]]]:
    """One migrated database for all tests of the API."""
    migrate({"AUTH": "off", "MONGO_URI": mongo_server.uri("api")})
    api_database = connect(mongo_server.uri("api"))
    yield api_database
    api_database.client.close()


@pytest.fixture(scope="session")
def cursor_key(migrated: Database[dict[str, Any]]) -> dict[str, Any]:
    """The stored key of the feed's cursors. Applications read it once."""
    FeedCursors(migrated).sealing()
    key = migrated["feed_cursors"].find_one()
    assert key is not None
    return key


@pytest.fixture
def api_database(migrated: Database[dict[str, Any]], cursor_key: dict[str, Any]) -> Database[dict[str, Any]]:
    """The migrated database with nothing in it but the key of the feed's cursors."""
    empty(migrated)
    migrated["feed_cursors"].insert_one(cursor_key)
    return migrated


class Client(FlaskClient):
    """A caller that reads each answer to its end, so that an application keeps none of them open."""

    def open(self, *args: Any, buffered: bool = True, **options: Any) -> TestResponse:
        """Sends a request."""
        return super().open(*args, buffered=buffered, **options)


@pytest.fixture(scope="session")
def new_app(migrated: Database[dict[str, Any]]) -> Callable[..., Flask]:
    """Makes an application with such settings, by the names of their environment variables."""

    def make(**environ: str) -> Flask:
        servers = {"REDIS_URL": NO_BROKER, "PAYMENT_WEBHOOK_SECRET": SECRET}
        settings = Settings.from_env({"AUTH": "off", **servers, **environ})
        app = create_app(settings, services_over(migrated, settings))
        app.test_client_class = Client
        return app

    return make


@pytest.fixture(scope="session")
def shared_app(new_app: Callable[..., Flask]) -> Callable[..., Flask]:
    """One application for all tests with the same settings, since making it takes longer than most of them.

    No test may add to it or replace a part of it.
    """
    return cache(new_app)


@pytest.fixture
def make_app(api_database: Database[dict[str, Any]], new_app: Callable[..., Flask]) -> Callable[..., Flask]:
    """Makes an application of the test's own over an empty database."""
    return new_app


@pytest.fixture
def app(api_database: Database[dict[str, Any]], shared_app: Callable[..., Flask]) -> Flask:
    """The application with default settings over an empty database."""
    return shared_app()


@pytest.fixture
def app_services(app: Flask) -> Services:
    """The application's services."""
    return app.extensions["services"]


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A caller."""
    return app.test_client()


@pytest.fixture
def post_order(client: FlaskClient) -> Callable[..., dict[str, Any]]:
    """Places the sample order with such changes, and gives it as it was shown."""

    def post(**changes: Any) -> dict[str, Any]:
        answer = client.post("/orders", json={**SAMPLE, **changes})
        assert answer.status_code == 201, answer.text
        return answer.get_json()["order"]

    return post


@pytest.fixture
def settle(app_services: Services) -> Callable[[str], None]:
    """Does what the workers would do for an order until nothing is due."""

    def work(order_id: str) -> None:
        for _ in range(len(steps.STEPS)):
            for step in steps.STEPS:
                perform(app_services.orders, step, [order_id])

    return work
