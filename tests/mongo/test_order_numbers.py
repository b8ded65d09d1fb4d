"""The migration that numbers the stored orders, and the release before that writes beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app import schema
from app.config import Settings
from app.orders.model import Change, advance
from app.orders.numbers import numbers_of
from app.orders.sweeping import number_orders
from migrations import m0009_search_keys as migration
from tests.support.doubles import Crash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.service_fixtures import Place

SETTINGS = Settings.from_env({"AUTH": "off"})


def numbers(database: OrderDatabase) -> dict[str, Any]:
    """The stored numbers by order."""
    return {str(order["_id"]): order.get("number") for order in database["orders"].find()}


@pytest.fixture
def before(database: OrderDatabase) -> Iterator[OrderDatabase]:
    """The database with the validator of the release before, which has no number."""
    (collection,) = database.list_collections(filter={"name": "orders"})
    validator = collection["options"]["validator"]
    del validator["$jsonSchema"]["properties"]["number"]
    database.command("collMod", "orders", validator=validator)
    yield database
    schema.apply(database)


def unnumber(database: OrderDatabase) -> None:
    """Takes the numbers away."""
    database["orders"].update_many({}, {"$unset": {"number": ""}})


def test_stored_orders_get_the_numbers_that_they_were_shown_with(place: Place, before: OrderDatabase) -> None:
    """By the same rule as new ones, also where the first check sign is no letter or digit."""
    schema.apply(before)
    ids = [place()["id"] for _ in range(5)]
    document: Any = before["orders"].find_one()
    odd = [f"{count:024x}" for count in range(60)]
    unnumber(before)
    for order_id in odd:
        before["orders"].insert_one({**document, "_id": ObjectId(order_id), "number": order_id[-11:]})
    unnumber(before)
    migration.upgrade(before, SETTINGS, lambda *_: None)
    assert numbers(before) == {order_id: next(numbers_of(order_id)) for order_id in (*ids, *odd)}


def test_the_release_before_changes_numbered_orders_and_adds_others(
    services: Services, place: Place, before: OrderDatabase
) -> None:
    """Its validator is in force meanwhile. What it adds gets a number as soon as this release runs."""
    schema.apply(before)
    order, second = place(), place()
    unnumber(before)
    (collection,) = before.list_collections(filter={"name": "orders"})
    validator = collection["options"]["validator"]
    del validator["$jsonSchema"]["properties"]["number"]
    before.command("collMod", "orders", validator=validator)
    before["orders"].delete_one({"_id": ObjectId(second["id"])})
    migration.upgrade(before, SETTINGS, lambda *_: None)
    after = advance(order, services.clock(), "test", [Change("payment.authorized")])
    assert services.orders.store.append(order, after, services.orders.due_by())
    added: Any = before["orders"].find_one()
    del added["number"]
    before["orders"].insert_one({**added, "_id": ObjectId(second["id"])})
    schema.apply(before)
    assert number_orders(services.orders) == 1
    assert numbers(before) == {one["id"]: one["number"] for one in (order, second)}


def test_an_order_whose_number_is_taken_gets_its_next_one(place: Place, before: OrderDatabase) -> None:
    schema.apply(before)
    first, second = place(), place()
    unnumber(before)
    before["orders"].update_one({"_id": ObjectId(second["id"])}, {"$set": {"number": first["number"]}})
    migration.upgrade(before, SETTINGS, lambda *_: None)
    own = numbers_of(first["id"])
    assert next(own) == first["number"]
    assert numbers(before) == {first["id"]: next(own), second["id"]: first["number"]}


def test_a_numbering_that_is_cut_off_goes_on_where_it_ended(
    place: Place, before: OrderDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.apply(before)
    monkeypatch.setattr(migration, "BATCH", 3)
    expected = {order["id"]: order["number"] for order in (place() for _ in range(7))}
    unnumber(before)

    def progress(done: int, total: int) -> None:
        assert 0 < done <= total
        if done >= 6:
            raise Crash

    with pytest.raises(Crash):
        migration.upgrade(before, SETTINGS, progress)
    assert list(numbers(before).values()).count(None) == 1
    migration.upgrade(before, SETTINGS, lambda *_: None)
    assert numbers(before) == expected
