"""The migration that notes owners in the feed and stores metadata as pairs, and the release before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from app.config import Settings
from app.erasure.service import erase_customer
from app.feed.cursors_store import FeedCursors
from app.feed.store import Entry
from app.orders.model import digest_of
from app.orders.store import Orders
from migrations import m0004_owners_and_pairs as migration
from tests.support.damage import NO_TIME, damage
from tests.support.doubles import Crash, at_once

if TYPE_CHECKING:
    import pytest

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.service_fixtures import Place

SETTINGS = Settings.from_env({"AUTH": "off"})
MAPS: list[dict[str, str]] = [
    {"$ref": "a", "$id": "b"},
    {"z": "1", "$id": "b", "$ref": "a", "$db": "c"},
    {"$date": "x"},
    {"plain": "$value", "a.b": "$ref"},
    {},
]


def as_before(database: OrderDatabase, order_id: str, metadata: dict[str, str]) -> None:
    """Stores the metadata as the release before did."""
    found = database["orders"].find_one({"_id": ObjectId(order_id)})
    assert found
    personal = {**found.get("personal", {"salt": "s"}), "metadata": metadata}
    database["orders"].replace_one({"_id": found["_id"]}, {**found, "personal": personal})


def unowned(database: OrderDatabase) -> int:
    """How many rows of the feed have no owner."""
    return database["feed"].count_documents({"userId": None})


def stored(database: OrderDatabase, order_id: str) -> Any:
    """The metadata as pairs of the stored names, decoded by no driver."""
    (found,) = database["orders"].aggregate(
        [
            {"$match": {"_id": ObjectId(order_id)}},
            {"$project": {"type": {"$type": "$personal.metadata"}}},
        ]
    )
    return found["type"]


def test_stored_metadata_are_adopted_and_read_as_they_were(
    services: Services, place: Place, database: OrderDatabase
) -> None:
    """Those with a reserved name become pairs, in their order; the others stay as they are."""
    ids = [place()["id"] for _ in MAPS]
    for order_id, metadata in zip(ids, MAPS, strict=True):
        as_before(database, order_id, metadata)
    notes = migration.upgrade(database, SETTINGS, lambda *_: None)
    assert notes == ["stored the metadata of 3 orders as pairs"]
    assert [stored(database, order_id) for order_id in ids] == ["array"] * 3 + ["object"] * 2
    for order_id, metadata in zip(ids, MAPS, strict=True):
        order = services.orders.store.get(order_id)
        assert order
        assert list(order["personal"]["metadata"].items()) == list(metadata.items())
    assert migration.upgrade(database, SETTINGS, lambda *_: None) == []


def test_the_digest_in_the_log_and_the_erasure_know_both_forms(
    services: Services, place: Place, database: OrderDatabase
) -> None:
    order_id = place(email="a@example.org")["id"]
    as_before(database, order_id, MAPS[0])
    (before,) = services.orders.store.load([order_id])
    migration.upgrade(database, SETTINGS, lambda *_: None)
    (after,) = services.orders.store.load([order_id])
    assert digest_of(before["personal"]) == digest_of(after["personal"])
    assert erase_customer(services.erasure, "user").orders == 1
    assert b"$ref" not in b"".join(raw for raw in database["orders"].find_raw_batches())


def test_a_document_that_breaks_another_rule_does_not_stop_the_migration(
    services: Services, place: Place, database: OrderDatabase
) -> None:
    bad, good = (place()["id"] for _ in range(2))
    for order_id in (bad, good):
        as_before(database, order_id, MAPS[0])
    damage(database, bad, {"$set": {"updatedAt": NO_TIME, "status": "lost"}})
    services.feed.store.append([Entry(bad, 1, "order.created")])
    database["feed"].update_many({}, {"$unset": {"userId": ""}})
    migration.upgrade(database, SETTINGS, lambda *_: None)
    assert [stored(database, order_id) for order_id in (bad, good)] == ["array"] * 2
    assert [row["userId"] for row in database["feed"].find()] == ["user"]


def test_a_migration_that_is_cut_off_goes_on_where_it_ended(
    place: Place, services: Services, database: OrderDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "BATCH", 3)
    ids = [place()["id"] for _ in range(7)]
    for order_id in ids:
        as_before(database, order_id, MAPS[1])
    services.feed.store.append([Entry(order_id, 1, "order.created") for order_id in ids])
    database["feed"].update_many({}, {"$unset": {"userId": ""}})
    steps, allowed = 0, 1

    def progress(done: int, total: int) -> None:
        nonlocal steps
        assert 0 < done <= total
        steps += 1
        if steps == allowed:
            raise Crash

    left = []
    while True:
        steps = 0
        try:
            migration.upgrade(database, SETTINGS, progress)
            break
        except Crash:
            left.append(unowned(database))
            allowed += 1
    assert left[:2] == [4, 0]
    assert {stored(database, order_id) for order_id in ids} == {"array"}


def test_a_user_sees_the_rows_that_a_relay_of_the_previous_release_fed(
    services: Services, place: Place, database: OrderDatabase
) -> None:
    """After the migration, and though its rows say nothing of an owner."""
    migration.upgrade(database, SETTINGS, lambda *_: None)
    order_id = place()["id"]
    database["feed"].insert_one(
        {"_id": 1, "orderId": ObjectId(order_id), "sequence": 1, "type": "order.created"}
    )
    assert services.feed.store.of("user").page(0, 10, None).entries == [
        (1, Entry(order_id, 1, "order.created"))
    ]
    assert services.feed.store.of("other").page(0, 10, None).entries == []
    assert unowned(database) == 0


def test_rows_of_orders_that_are_gone_are_nobodys(services: Services, database: OrderDatabase) -> None:
    database["feed"].insert_one({"_id": 1, "orderId": ObjectId(), "sequence": 1, "type": "order.created"})
    migration.upgrade(database, SETTINGS, lambda *_: None)
    assert unowned(database) == 0
    assert services.feed.store.of("user").page(0, 10, None).entries == []


def test_processes_that_make_the_key_at_once_have_the_same(database: OrderDatabase) -> None:
    database["feed_cursors"].delete_many({})
    sealings = at_once(*[lambda: FeedCursors(database).sealing()] * 16)
    assert len({sealing.key for sealing in sealings}) == 1
    assert len(sealings[0].key) == 32
    assert sealings[0].key.hex() not in repr(sealings[0])
    assert database["feed_cursors"].count_documents({}) == 1


def test_the_release_before_may_write_beside_this_one(place: Place, database: OrderDatabase) -> None:
    """The validators take what it writes."""
    order_id = place()["id"]
    for metadata in MAPS:
        as_before(database, order_id, metadata)
        assert Orders(database).get(order_id)["personal"]["metadata"] == metadata  # type: ignore[index]
    assert unowned(database) == 0
