"""Migrations on a real server: run once however often and by however many they are started, even killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64, ObjectId

from app.bootstrap import shop_over
from app.config import Settings
from app.domain import steps
from app.domain.order import Order, first_bad_sequence
from app.services import ordering, processing, sweeping
from app.storage import database as storage
from app.storage.migrations import LeaseLost, applied, pending, upgrade
from migrations import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.services.shop import Shop
    from app.storage.migrations import Progress

ROOT = Path(__file__).parents[2]
CREATED, UPDATED = datetime(2023, 5, 1, 12, tzinfo=UTC), datetime(2023, 5, 3, 9, tzinfo=UTC)
# Migrates with a short lease, says where it is, and never gets any further.
STUCK = """
import sys, time
from contextlib import nullcontext
from app.config import Settings
from app.storage.database import connect
from app.storage.migrations import upgrade

def progress(done, total):
    print(done, flush=True)
    time.sleep(3600)

settings = Settings.from_env()
list(upgrade(connect(settings.mongo_uri), settings, lambda name: nullcontext(progress), lease=1.0))
"""


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
def shop(database: Any, settings: Settings) -> Shop:
    """A service on that database."""
    return shop_over(database, settings)


def test_migrations_run_once_in_order(database: Any, settings: Settings) -> None:
    """A second run finds nothing to do."""
    assert pending(database) == list(NAMES)
    assert _upgrade(database, settings) == list(NAMES)
    assert pending(database) == []
    assert _upgrade(database, settings) == []
    assert [migration.name for migration in applied(database)] == list(NAMES)


def test_processes_that_migrate_at_once_take_turns(database: Any, mongo_uri: str) -> None:
    """All succeed, and each migration is applied by one of them."""
    database["orders"].insert_many(_old(number) for number in range(2_000))
    command = [str(Path(sys.executable).with_name("flask")), "--app", "wsgi", "db", "upgrade"]
    runs = [_start(command, mongo_uri) for _ in range(3)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    lines = re.findall(r"^(m\S+) applied", "".join(outputs), re.MULTILINE)
    assert sorted(lines) == list(NAMES), outputs
    assert _intact(database) == 2_000


def test_a_killed_migration_is_taken_up_where_it_ended(
    database: Any, settings: Settings, mongo_uri: str
) -> None:
    """The next run waits until the dead one's lease is over."""
    database["orders"].insert_many(_old(number) for number in range(1_200))
    run = _start([sys.executable, "-c", STUCK], mongo_uri)
    assert run.stdout
    assert run.stdout.readline() == "500\n"
    run.kill()
    run.communicate()
    assert database["orders"].count_documents({"events": {"$exists": False}}) == 700
    waited = threading.Event()
    assert _upgrade(database, settings, on_wait=waited.set) == list(NAMES[1:])
    assert waited.is_set()
    assert _intact(database) == 1_200


def test_a_slow_migration_keeps_its_lease(database: Any, settings: Settings) -> None:
    """The one that waits does so for longer than a lease, and then has nothing to do."""
    database["orders"].insert_one(_old(1))
    may_go_on, waiting, results = threading.Event(), threading.Event(), {}
    first = threading.Thread(
        target=lambda: results.update(
            first=_upgrade(database, settings, lambda *_: may_go_on.wait(30) and None, lease=0.4)
        )
    )
    first.start()
    _until(lambda: database["migrations"].find_one({"_id": NAMES[0]}))
    second = threading.Thread(
        target=lambda: results.update(second=_upgrade(database, settings, on_wait=waiting.set, lease=0.4))
    )
    second.start()
    assert waiting.wait(10)
    for _ in range(6):
        lease = database["migrations"].find_one({"_id": "lease"})
        _until(
            lambda lease=lease: database["migrations"].find_one({"_id": "lease"})["until"] > lease["until"]
        )
    assert results == {}
    may_go_on.set()
    first.join()
    second.join()
    assert results == {"first": list(NAMES), "second": []}


def test_a_migration_that_lost_its_lease_stops(database: Any, settings: Settings) -> None:
    """It neither goes on nor is recorded."""
    database["orders"].insert_many(_old(number) for number in range(600))
    theirs = {"_id": "lease", "holder": "another", "until": datetime(2100, 1, 1, tzinfo=UTC)}

    def lose(done: int, total: int) -> None:
        database["migrations"].replace_one({"_id": "lease"}, theirs)
        over = time.monotonic() + 0.5
        _until(lambda: time.monotonic() > over)

    with pytest.raises(LeaseLost):
        _upgrade(database, settings, lose, lease=0.4)
    assert pending(database) == list(NAMES[1:])
    assert database["migrations"].find_one({"_id": "lease"}) == theirs


@pytest.mark.parametrize(
    ("old", "status", "events"),
    [
        ("pending", "confirmed", ["order.created", "order.confirmed"]),
        ("shipped", "shipped", ["order.created", "order.confirmed", "order.shipped"]),
        ("delivered", "delivered", ["order.created", "order.confirmed", "order.shipped", "order.delivered"]),
    ],
)
def test_an_order_of_the_original_is_adopted_as_it_stood(
    database: Any, settings: Settings, shop: Shop, old: str, status: str, events: list[str]
) -> None:
    """With its id, its times and a log that verifies; nothing is owed and nothing announced."""
    document = _old(1, status=old)
    database["orders"].insert_one(document)
    _upgrade(database, settings)
    order = ordering.history(shop, str(document["_id"]))
    assert (order["userId"], order["products"]) == ("user-1", [{"productId": "product-1", "quantity": 2}])
    assert (order["totalAmount"], order["currency"], order["status"]) == (20_000, "USD", status)
    assert (order["createdAt"], order["updatedAt"]) == (CREATED, UPDATED)
    assert [event["type"] for event in order["events"]] == events
    assert {event["actor"] for event in order["events"]} == {"migration"}
    assert ordering.verify(shop, order["id"]) is None
    assert steps.due(order) == []
    assert sweeping.expire_orders(shop) == 0
    assert sweeping.overdue_steps(shop) == {}


def test_an_adopted_order_can_be_shipped(database: Any, settings: Settings, shop: Shop) -> None:
    """As it could before."""
    order_id = _adopt(database, settings, _old(1, status="pending"))
    for status in ("shipped", "delivered"):
        assert ordering.change_status(shop, order_id, status, actor="owner")["status"] == status


def test_an_adopted_order_can_be_cancelled(database: Any, settings: Settings, shop: Shop) -> None:
    """No money is given back that was not taken here, and no stock put back."""
    order_id = _adopt(database, settings, _old(1, status="pending"))
    order = ordering.change_status(shop, order_id, "cancelled", actor="owner")
    for step in steps.STEPS:
        processing.perform(shop, step, [order_id])
    order = ordering.get_order(shop, order_id)
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
    _adopt(database, settings, _old(1, totalAmount=amount))
    assert database["orders"].find_one()["totalAmount"] == minor


def test_what_cannot_be_an_order_is_set_aside_with_the_reasons(database: Any, settings: Settings) -> None:
    """As it was, and named; the others are adopted."""
    line = {"productId": "p", "quantity": 1}
    wrong = {
        "_id is not an ObjectId": _old(1, _id="one"),
        "userId is not a text of 1 to 128 characters": _old(2, userId=7),
        "products is not a list of 1 to 200 lines": _old(3, products=[]),
        "products[1].quantity is not a whole number from 1 to 1000000": _old(
            4, products=[line, {**line, "quantity": 1.5}]
        ),
        "products[0] is not a line": _old(5, products=["p"]),
        "totalAmount is not a number from 0 to 10000000000": _old(6, totalAmount=float("nan")),
        "status is none of pending, shipped, delivered": _old(7, status="lost"),
        "createdAt is not a date": _old(8, createdAt="yesterday"),
        "userId is not a text of 1 to 128 characters; products is not a list of 1 to 200 lines; "
        "totalAmount is not a number from 0 to 10000000000": {"_id": ObjectId()},
    }
    database["orders"].insert_many([*wrong.values(), _old(9)])
    notes = [note for done in _run(database, settings) for note in done.notes]
    assert notes[0] == "adopted 1 orders"
    assert set(notes[1:]) == {f"rejected {old['_id']}: {reason}" for reason, old in wrong.items()}
    kept = {"; ".join(reject["faults"]): reject["document"] for reject in database["legacy_rejects"].find()}
    assert repr(kept[next(reason for reason in wrong if "totalAmount" in reason)]["totalAmount"]) == "nan"
    assert kept.keys() == wrong.keys()
    assert all(kept[reason]["_id"] == old["_id"] for reason, old in wrong.items())
    assert _intact(database) == 1


def test_products_and_users_kept_as_object_ids_keep_their_text(database: Any, settings: Settings) -> None:
    """As the original's clients knew them; what Mongoose added to a line is left behind."""
    key = ObjectId()
    _adopt(
        database, settings, _old(1, userId=key, products=[{"_id": key, "productId": key, "quantity": 2.0}])
    )
    adopted = database["orders"].find_one()
    assert adopted["userId"] == str(key)
    assert adopted["products"] == [{"productId": str(key), "quantity": 2}]


def test_an_order_without_times_was_created_when_its_id_was(database: Any, settings: Settings) -> None:
    """To the second."""
    document = _old(1)
    del document["createdAt"], document["updatedAt"]
    _adopt(database, settings, document)
    assert database["orders"].find_one()["createdAt"] == document["_id"].generation_time


def _old(number: int, **changes: Any) -> dict[str, Any]:
    """An order as the original service stored it."""
    return {
        "_id": ObjectId(),
        "userId": f"user-{number}",
        "products": [{"productId": f"product-{number}", "quantity": 2, "_id": ObjectId()}],
        "totalAmount": 200.0,
        "status": ("pending", "shipped", "delivered")[number % 3],
        "createdAt": CREATED,
        "updatedAt": UPDATED,
        "__v": 0,
        **changes,
    }


def _run(
    database: Any, settings: Settings, progress: Progress = lambda *_: None, **options: Any
) -> list[Any]:
    return list(upgrade(database, settings, lambda _: nullcontext(progress), **options))


def _upgrade(database: Any, settings: Settings, *progress: Progress, **options: Any) -> list[str]:
    return [done.name for done in _run(database, settings, *progress, **options)]


def _adopt(database: Any, settings: Settings, document: dict[str, Any]) -> str:
    database["orders"].insert_one(document)
    _upgrade(database, settings)
    return str(document["_id"])


def _start(command: list[str], mongo_uri: str) -> subprocess.Popen[str]:
    env = {**os.environ, "AUTH": "off", "MONGO_URI": mongo_uri}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def _intact(database: Any) -> int:
    """How many orders there are, all of them with logs that verify."""
    orders: list[Order] = list(database["orders"].find())
    assert all(first_bad_sequence(str(order["_id"]), order["events"]) is None for order in orders)  # type: ignore[typeddict-item]
    return len(orders)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
