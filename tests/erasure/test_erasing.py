"""Erasing what is known of a customer: all of it, whenever it is cut off, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId, json_util
from flask import Flask

from app.commands import register_commands
from app.erasure import service as erasing
from app.erasure.service import Erased, erase_customer
from app.erasure.store import NO_BODY
from app.errors import IdempotencyKeyReused
from app.notifications.announce import deliver
from app.orders.log import first_bad_sequence
from app.orders.service import delete_order, order_at_version, place_order
from deploy.local.stack import ROOT
from tests.support.announcing import announce
from tests.support.doubles import Crash, Followed, eventually, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskCliRunner

    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.services import Services
    from deploy.local.servers import MongoServer
    from tests.support.service_fixtures import Finish

    PlaceFor = Callable[..., Order]

SECRET = "xsecretx"


@pytest.fixture
def place_for(services: Services) -> PlaceFor:
    """Places a customer's order with all personal data, and with a key if given."""

    def order(user_id: str, key: str | None = None) -> Order:
        draft: Any = {
            "userId": user_id,
            "products": [{"productId": "apple", "quantity": 1}],
            "totalAmount": 1000,
            "currency": "USD",
            "email": f"{SECRET}@example.org",
            "shippingAddress": {"name": SECRET},
            "metadata": {"note": SECRET},
        }
        return place_order(services.orders, draft, actor="caller", key=key, digest="a" * 64).order

    return order


def held(database: OrderDatabase, user_id: str) -> int:
    """The number of a customer's orders that still have personal data."""
    orders = database["orders"].find({"userId": user_id})
    return sum(SECRET in json_util.dumps(order) for order in orders)


def test_live_and_deleted_orders_are_erased_and_no_other_customers(
    services: Services, place_for: PlaceFor, finish: Finish, database: OrderDatabase, clock: Any
) -> None:
    """In batches, of which there are several here."""
    ids = [place_for("ann")["id"] for _ in range(3)]
    finish(services, *ids)
    delete_order(services.orders, ids[0], actor="u")
    delete_order(services.orders, ids[1], actor="u")
    finish(services, *ids)
    others = [place_for(user)["id"] for user in ("anna", "Ann", "ann ")]
    assert erase_customer(services.erasure, "ann") == Erased(orders=3, rejected=0)
    assert held(database, "ann") == 0
    for order in database["orders"].find({"userId": "ann"}):
        assert order["erasedAt"] == clock()
        assert "personal" not in order
        assert first_bad_sequence(str(order["_id"]), order["events"], order["version"]) is None
    assert sum(held(database, user) for user in ("anna", "Ann", "ann ")) == len(others)
    assert (
        erase_customer(services.erasure, "ann") == erase_customer(services.erasure, "nobody") == Erased(0, 0)
    )


def test_an_erased_order_goes_on_as_if_nothing_had_been_known(
    services: Services, place_for: PlaceFor, finish: Finish, books: Any
) -> None:
    order = place_for("ann")
    erase_customer(services.erasure, "ann")
    finish(services, order["id"])
    announced = announce(services.notifications, [order["id"]])
    deliver(services.notifications, announced.notifications)
    books.check()
    assert books.order(order["id"])["status"] == "confirmed"
    assert "personal" not in order_at_version(services.orders, order["id"], 1)


def test_the_key_of_an_erased_order_stays_used_and_knows_no_body_any_more(
    services: Services, place_for: PlaceFor, database: OrderDatabase
) -> None:
    """The digest could reveal the body. Without the digest, no body counts as the same."""
    place_for("ann", key="k")
    erase_customer(services.erasure, "ann")
    (order,) = database["orders"].find({"userId": "ann"})
    assert order["idempotency"]["digest"] == NO_BODY
    with pytest.raises(IdempotencyKeyReused):
        place_for("ann", key="k")
    assert database["orders"].count_documents({}) == 1


@pytest.mark.parametrize("update", [1, 2, 3])
def test_cut_off_anywhere_it_ends_the_same_when_it_is_run_again(
    update: int,
    services: Services,
    place_for: PlaceFor,
    database: OrderDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It dies right after one of its writes."""
    monkeypatch.setattr(erasing, "_BATCH", 2)
    for number in range(5):
        place_for("ann", key=f"k{number}")
    left = [update]

    def die() -> None:
        raise Crash

    class Dying:
        """The orders, until so many writes are done."""

        def __getattr__(self, name: str) -> Any:
            real = getattr(database["orders"], name)
            if name == "update_many":
                left[0] -= 1
                return getattr(Followed(database["orders"], name, die), name) if not left[0] else real
            return real

    dying = with_parts(services)
    monkeypatch.setattr(dying.erasure.store, "_orders", Dying())
    with pytest.raises(Crash):
        erase_customer(dying.erasure, "ann")
    monkeypatch.setattr(dying.erasure.store, "_orders", database["orders"])
    assert erase_customer(services.erasure, "ann").orders == held_before_last(update)
    assert held(database, "ann") == 0
    digests = {order["idempotency"]["digest"] for order in database["orders"].find()}
    assert digests == {NO_BODY}


def held_before_last(update: int) -> int:
    """Of five orders, two are erased by every write, and one by the last."""
    return max(0, 5 - 2 * update)


def test_orders_may_come_in_and_go_meanwhile(
    services: Services, place_for: PlaceFor, database: OrderDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders from before the run are erased for certain, later ones by the next run."""
    monkeypatch.setattr(erasing, "_BATCH", 3)
    before = [place_for("ann")["id"] for _ in range(40)]
    enough, begun = threading.Event(), threading.Event()

    def trade() -> None:
        for order_id in reversed(before):
            delete_order(services.orders, order_id, actor="u")
            place_for("ann")
            begun.set()
            if enough.is_set():
                return

    trading = threading.Thread(target=trade)
    trading.start()
    eventually(begun.is_set)
    erase_customer(services.erasure, "ann")
    enough.set()
    trading.join()
    orders = database["orders"].find({"_id": {"$in": [ObjectId(order_id) for order_id in before]}})
    assert all("personal" not in order for order in orders)
    erase_customer(services.erasure, "ann")
    assert held(database, "ann") == 0


@pytest.mark.parametrize("user_id", ["ann", "66ffbd20a1b2c3d4e5f60718"])
def test_the_data_of_the_original_service_is_erased_too(
    user_id: str, services: Services, database: OrderDatabase
) -> None:
    """This covers every field of an order that was not taken over, with ids of any type."""
    kept = database["legacy_rejects"]
    kept.delete_many({})
    known = ObjectId(user_id) if ObjectId.is_valid(user_id) else user_id
    mine = {"userId": known, "products": [{"giftNote": SECRET}], "email": SECRET}
    kept.insert_one({"_id": 1, "faults": ["products[0] is no line"], "document": mine})
    kept.insert_one({"_id": 2, "faults": [], "document": {"userId": "somebody else", "email": SECRET}})
    assert erase_customer(services.erasure, user_id) == Erased(orders=0, rejected=1)
    assert erase_customer(services.erasure, user_id) == Erased(0, 0)
    assert SECRET not in json_util.dumps(kept.find_one({"_id": 1}))
    assert SECRET in json_util.dumps(kept.find_one({"_id": 2}))
    kept.delete_many({})


@pytest.fixture
def command(services: Services) -> FlaskCliRunner:
    """The commands over these services, without a terminal, as in a script."""
    app = Flask("app")
    app.extensions["services"] = services
    register_commands(app)
    return app.test_cli_runner()


def test_without_a_terminal_to_ask_nothing_is_erased(
    command: FlaskCliRunner, place_for: PlaceFor, database: OrderDatabase
) -> None:
    """Unless the command says that it need not ask."""
    place_for("ann")
    refused = command.invoke(args=["erase-customer", "ann"], input="y\n")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "Error: Nothing is erased: add --yes to run without a terminal.\n"
    assert held(database, "ann") == 1
    done = command.invoke(args=["erase-customer", "--yes", "ann"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert held(database, "ann") == 0


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 1), ("", 1)])
def test_at_a_terminal_the_command_asks_before_it_erases(
    place_for: PlaceFor, database: OrderDatabase, mongo_server: MongoServer, answer: str, left: int
) -> None:
    """An empty answer is a no."""
    place_for("ann")
    ours, theirs = os.openpty()
    environment = {**os.environ, "AUTH": "off", "MONGO_URI": mongo_server.uri(database.name)}
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        asked = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "wsgi", "erase-customer", "ann"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            text=True,
        )
        os.close(theirs)
        terminal.write(f"{answer}\n".encode())
        said, _ = asked.communicate(timeout=60)
    assert "from all orders of ann? They cannot be restored. [y/N]" in said
    assert ("Nothing is erased." in said) == bool(left)
    assert asked.returncode == left
    assert held(database, "ann") == left
