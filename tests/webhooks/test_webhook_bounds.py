"""The records of webhooks are kept for so long and no longer, those from before this bound too."""

from __future__ import annotations

import importlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.config import Settings
from app.mongo.database import connect
from app.webhooks import service as webhooks
from app.webhooks.delivery import deliver_next, purge_deliveries
from app.webhooks.model import Answer, kept_since
from app.webhooks.sender import WebhookSender
from tests.support.doubles import with_parts
from tests.support.hooks import announced, records
from tests.support.originals import run_migrations
from tests.support.stored import AT, RIGHT

if TYPE_CHECKING:
    from app.services import Services
    from app.webhooks.model import Endpoint
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Place

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


@pytest.fixture
def services(services: Services) -> Services:
    """Services that may send webhooks to this machine."""
    return with_parts(services, webhooks=WebhookSender(allow_private=True))


def test_ended_deliveries_are_removed_after_the_retention_and_pending_ones_are_not(
    services: Services, clock: StoppedClock, endpoint: Endpoint, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one batch of it, and not a moment too soon."""
    monkeypatch.setattr("app.webhooks.delivery._BATCH", 2)
    announced(services, place, 5)
    webhooks.change_endpoint(services.webhooks, endpoint["id"], {"enabled": False})
    webhooks.change_endpoint(services.webhooks, endpoint["id"], {"enabled": True})
    replayed = webhooks.replay(services.webhooks, endpoint["id"], records(services, endpoint)[0]["id"])
    clock.advance(DAY * services.settings.delivery_retention_days)
    assert purge_deliveries(services.webhooks) == 0
    clock.advance(SECOND)
    assert purge_deliveries(services.webhooks) == 4
    assert [one["id"] for one in records(services, endpoint)] == [replayed["id"]]


@pytest.mark.parametrize("status", [200, 410])
def test_the_retention_counts_from_the_end_of_a_delivery_however_it_ends(
    services: Services, clock: StoppedClock, endpoint: Endpoint, place: Place, status: int
) -> None:
    """So every delivery of an event since `kept_since` is there."""

    class Receiver:
        def send(self, *_: object) -> Answer:
            return Answer(status)

    announced(services, place)
    clock.advance(DAY)
    deliver_next(with_parts(services, webhooks=Receiver()).webhooks, endpoint["id"])  # type: ignore[arg-type]
    clock.advance(DAY * services.settings.delivery_retention_days)
    (kept,) = records(services, endpoint)
    assert kept["at"] < kept_since(clock(), services.settings.delivery_retention_days)
    assert purge_deliveries(services.webhooks) == 0
    clock.advance(SECOND)
    assert purge_deliveries(services.webhooks) == 1


def test_the_migrations_number_endpoints_and_date_ended_deliveries(mongo_uri: str) -> None:
    """Over documents of the release before, and no more when run again; what is pending stays as it is."""
    database = connect(mongo_uri)
    settings = Settings.from_env({"AUTH": "off", "MONGO_URI": mongo_uri})
    for name in ("m0001_collections", "m0003_edges"):
        importlib.import_module(f"migrations.{name}").upgrade(database, settings, lambda *_: None)
    endpoints, deliveries = database["webhook_endpoints"], database["webhook_deliveries"]
    fresh = ("slot", "tests", "owner", "payload")
    endpoints.insert_many([_without("webhook_endpoints", *fresh) for _ in range(3)])
    later = AT + DAY
    rows: list[dict[str, Any]] = [
        _without("webhook_deliveries", "endedAt", "dueBy") | {"attempts": [{"at": later, "milliseconds": 1}]},
        _without("webhook_deliveries", "endedAt", "dueBy") | {"attempts": []},
        _without("webhook_deliveries", "endedAt"),
    ]
    deliveries.insert_many(rows)
    for _ in range(2):
        run_migrations(database, settings)
        importlib.import_module("migrations.m0005_webhook_bounds").upgrade(
            database, settings, lambda *_: None
        )
        assert [found["slot"] for found in endpoints.find().sort("_id")] == [1, 2, 3]
        ended = [deliveries.find_one({"_id": row["_id"]}).get("endedAt") for row in rows]  # type: ignore[union-attr]
        assert ended == [later, AT, None]
    # An endpoint of the release before that is made meanwhile gets a number that is free.
    endpoints.update_one({"slot": 2}, {"$unset": {"slot": ""}})
    importlib.import_module("migrations.m0005_webhook_bounds").upgrade(database, settings, lambda *_: None)
    assert [found["slot"] for found in endpoints.find().sort("_id")] == [1, 2, 3]
    database.client.close()


def test_an_upgrade_brings_the_records_of_the_release_before_to_this_form(
    mongo_uri: str, settings: Settings
) -> None:
    """Its validators, which know neither number nor end, are still in force while it runs."""
    with connect(mongo_uri).client as client:
        database = client.get_default_database()
        for name in ("m0001_collections", "m0003_edges"):
            importlib.import_module(f"migrations.{name}").upgrade(database, settings, print)
        stamps = {"createdAt": AT, "updatedAt": AT}
        database["webhook_endpoints"].insert_one(
            {
                "url": "https://a.example",
                "events": ["*"],
                "enabled": True,
                "secrets": [{"secret": "s"}],
                **stamps,
            }
        )
        of_order = {"endpointId": "e", "orderId": "o", "sequence": 1, "type": "order.created", "at": AT}
        database["webhook_deliveries"].insert_one(
            {"_id": "d", **of_order, "status": "failed", "attempts": [], "failures": 0}
        )
        run_migrations(database, settings)
        assert database["webhook_endpoints"].find_one({"slot": 1})
        assert database["webhook_deliveries"].find_one({"endedAt": {"$exists": True}})


def _without(collection: str, *fields: str) -> dict[str, Any]:
    return {name: value for name, value in RIGHT[collection]().items() if name not in fields}
