"""The orders of the original service are taken over, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64, ObjectId

from app.config import Settings
from app.mongo import database as storage
from app.orders import processing, steps, sweeping
from app.orders import service as ordering
from app.services import services_over
from tests.support.doubles import swept
from tests.support.originals import (
    CREATED,
    UPDATED,
    intact_orders,
    original_order,
    run_migrations,
    upgrade_names,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.services import Services


@pytest.fixture
def database(mongo_uri: str) -> Iterator[Any]:
    """A database that no migration has seen."""
    opened = storage.connect(mongo_uri)
    yield opened
    opened.client.close()


@pytest.fixture
def settings(mongo_uri: str) -> Settings:
    """The settings of a service on that database."""
    return Settings.from_env({"AUTH": "off", "MONGO_URI": mongo_uri})


@pytest.fixture
def services(database: Any, settings: Settings) -> Services:
    """A service on that database."""
    return services_over(database, settings)


@pytest.mark.parametrize(
    ("old", "status", "events"),
    [
        ("pending", "confirmed", ["order.created", "order.confirmed"]),
        ("shipped", "shipped", ["order.created", "order.confirmed", "order.shipped"]),
        ("delivered", "delivered", ["order.created", "order.confirmed", "order.shipped", "order.delivered"]),
    ],
)
def test_an_order_of_the_original_is_adopted_as_it_stood(
    database: Any, settings: Settings, services: Services, old: str, status: str, events: list[str]
) -> None:
    """With its id, its times and a log that verifies; nothing is owed and nothing announced."""
    document = original_order(1, status=old)
    database["orders"].insert_one(document)
    upgrade_names(database, settings)
    order = ordering.history(services.orders, str(document["_id"]))
    assert (order["userId"], order["products"]) == ("user-1", [{"productId": "product-1", "quantity": 2}])
    assert (order["totalAmount"], order["currency"], order["status"]) == (20_000, "USD", status)
    assert (order["createdAt"], order["updatedAt"]) == (CREATED, UPDATED)
    assert [event["type"] for event in order["events"]] == events
    assert {event["actor"] for event in order["events"]} == {"migration"}
    assert ordering.verify(services.orders, order["id"]) is None
    assert steps.due(order) == []
    assert sweeping.expire_orders(services.orders) == 0
    assert swept(services) == {}


def test_an_adopted_order_can_be_shipped(database: Any, settings: Settings, services: Services) -> None:
    """As it could before."""
    order_id = _adopt(database, settings, original_order(1, status="pending"))
    for status in ("shipped", "delivered"):
        assert ordering.change_status(services.orders, order_id, status, actor="owner")["status"] == status


def test_an_adopted_order_can_be_cancelled(database: Any, settings: Settings, services: Services) -> None:
    """No money is given back that was not taken here, and no stock put back."""
    order_id = _adopt(database, settings, original_order(1, status="pending"))
    order = ordering.change_status(services.orders, order_id, "cancelled", actor="owner")
    for step in steps.STEPS:
        processing.perform(services.orders, step, [order_id])
    order = ordering.get_order(services.orders, order_id)
    assert (order["payment"]["status"], order["stock"]["status"]) == ("voided", "released")
    assert order["payment"]["capturedAmount"] == order["payment"]["refundedAmount"] == 0
    assert database["stock_movements"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [
        ("USD", 200, 20_000),
        ("USD", 0.1 + 0.2, 30),
        ("USD", 19.99, 1_999),
        ("USD", 1.005, 101),
        ("USD", 0.004, 0),
        ("USD", Int64(7), 700),
        ("USD", Decimal128("12.345"), 1_235),
        ("JPY", 199.5, 200),
        ("KWD", 1.0005, 1_001),
        ("USD", 1e10, 10**12),
    ],
)
def test_an_amount_is_taken_over_to_the_minor_unit(
    database: Any, settings: Settings, currency: str, amount: Any, minor: int
) -> None:
    """Rounded half up from the decimal that the stored float means."""
    settings = Settings.from_env({"AUTH": "off", "DEFAULT_CURRENCY": currency})
    _adopt(database, settings, original_order(1, totalAmount=amount))
    assert database["orders"].find_one()["totalAmount"] == minor


def test_an_invalid_original_order_is_set_aside_with_the_reasons(database: Any, settings: Settings) -> None:
    """As it was, and named; the others are adopted."""
    line = {"productId": "p", "quantity": 1}
    wrong = {
        "_id is not an ObjectId": original_order(1, _id="one"),
        "userId is not a text of 1 to 128 characters": original_order(2, userId=7),
        "products is not a list of 1 to 200 lines": original_order(3, products=[]),
        "products[1].quantity is not a whole number from 1 to 1000000": original_order(
            4, products=[line, {**line, "quantity": 1.5}]
        ),
        "products[0] is not a line": original_order(5, products=["p"]),
        "totalAmount is not a number from 0 to 10000000000": original_order(6, totalAmount=float("nan")),
        "status is none of pending, shipped, delivered": original_order(7, status="lost"),
        "createdAt is not a date": original_order(8, createdAt="yesterday"),
        "userId is not a text of 1 to 128 characters; products is not a list of 1 to 200 lines; "
        "totalAmount is not a number from 0 to 10000000000": {"_id": ObjectId()},
    }
    database["orders"].insert_many([*wrong.values(), original_order(9)])
    notes = [note for done in run_migrations(database, settings) for note in done.notes]
    assert notes[0] == "adopted 1 orders"
    assert set(notes[1:]) == {f"rejected {old['_id']}: {reason}" for reason, old in wrong.items()}
    kept = {"; ".join(reject["faults"]): reject["document"] for reject in database["legacy_rejects"].find()}
    assert repr(kept[next(reason for reason in wrong if "totalAmount" in reason)]["totalAmount"]) == "nan"
    assert kept.keys() == wrong.keys()
    assert all(kept[reason]["_id"] == old["_id"] for reason, old in wrong.items())
    assert intact_orders(database) == 1


def test_products_and_users_kept_as_object_ids_keep_their_text(database: Any, settings: Settings) -> None:
    """As the original's clients knew them; what Mongoose added to a line is left behind."""
    key = ObjectId()
    _adopt(
        database,
        settings,
        original_order(1, userId=key, products=[{"_id": key, "productId": key, "quantity": 2.0}]),
    )
    adopted = database["orders"].find_one()
    assert adopted["userId"] == str(key)
    assert adopted["products"] == [{"productId": str(key), "quantity": 2}]


def test_an_order_without_times_was_created_when_its_id_was(database: Any, settings: Settings) -> None:
    """To the second."""
    document = original_order(1)
    del document["createdAt"], document["updatedAt"]
    _adopt(database, settings, document)
    assert database["orders"].find_one()["createdAt"] == document["_id"].generation_time


def _adopt(database: Any, settings: Settings, document: dict[str, Any]) -> str:
    database["orders"].insert_one(document)
    upgrade_names(database, settings)
    return str(document["_id"])
