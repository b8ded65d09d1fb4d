"""One document that the code cannot deal with is set aside; all others of its batch go on."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.clock import new_id
from app.orders import steps, sweeping
from app.orders.processing import perform
from app.orders.service import delete_order
from app.orders.sweeping import all_owed_steps, expire_orders, purge_deleted_orders
from app.stock import load as loading
from app.webhooks.sender import WebhookSender
from app.webhooks.service import add_endpoint
from tests.support.announcing import announce
from tests.support.damage import damage, damage_document
from tests.support.doubles import swept, with_parts
from tests.support.hooks import records
from tests.support.reconciled import differences, reconciled, whose

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from app.webhooks.model import Endpoint
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.outside import ProviderEvents
    from tests.support.receiver import Receiver
    from tests.support.service_fixtures import Finish, Place, SetStock

DAMAGES: tuple[dict[str, Any], ...] = (
    {"$unset": {"payment": ""}},
    {"$unset": {"stock": "", "status": ""}},
    {"$set": {"payment": 7, "attempts": "many", "origin": 7}},
    {"$set": {"refunds": [7], "publicVersion": "two"}},
)
NO_PAYMENT = DAMAGES[0]


@pytest.fixture
def services(services: Services) -> Services:
    """Services that allow a receiver on this machine."""
    return with_parts(services, webhooks=WebhookSender(allow_private=True, seconds=5))


def faults(logged: list[Any]) -> list[str]:
    """The orders that errors are logged about."""
    return [line["order_id"] for line in logged if line["log_level"] == "error" and "order_id" in line]


def move(services: Services, database: OrderDatabase, order_id: str, product: str, quantity: int) -> None:
    """Takes stock for the order past the service, in level and ledger."""
    row = {"productId": product, "orderId": order_id, "quantity": -quantity, "kind": "decrement"}
    database["stock_movements"].insert_one(
        {"_id": ObjectId(new_id(services.clock())), "at": services.clock(), **row}
    )
    database["stock"].update_one({"_id": product}, {"$inc": {"onHand": -quantity}})


def authorized(services: Services, place: Place, number: int, **wanted: int) -> list[str]:
    """So many orders that wait for their stock."""
    ids = [place(**wanted)["id"] for _ in range(number)]
    perform(services.orders, steps.AUTHORIZE, ids)
    return ids


def test_a_foreign_movement_of_one_order_stops_no_other_of_its_batch(
    services: Services,
    clock: StoppedClock,
    place: Place,
    stocked: SetStock,
    database: OrderDatabase,
    books: Books,
    logged: list[Any],
) -> None:
    """The one order is logged, waits ever longer, and reconciliation finds it."""
    stocked(apple=100)
    ids = authorized(services, place, 7, apple=2)
    move(services, database, ids[3], "apple", 1)
    perform(services.orders, steps.DECREMENT, ids)
    stocks = [books.order(order_id)["stock"]["status"] for order_id in ids]
    assert stocks == ["decremented"] * 3 + ["pending"] + ["decremented"] * 3
    assert books.levels() == {"apple": 100 - 6 * 2 - 1}
    assert faults(logged) == [ids[3]]

    waits = []
    for _ in range(6):
        waits.append((books.document(ids[3])["dueBy"] - clock()).total_seconds())
        clock.advance(timedelta(seconds=waits[-1]))
        assert swept(services)[steps.DECREMENT.name] == [ids[3]]
        perform(services.orders, steps.DECREMENT, [ids[3]])
    assert waits[5] > 4 * waits[0] > 0

    clock.advance(timedelta(minutes=2))
    found = differences(services, reconciled(services, scopes=("stock",)))
    assert [(one["kind"], whose(one)) for one in found] == [("movement_unexpected", ids[3])]


def test_an_order_continues_with_exactly_the_stock_that_the_ledger_has_for_it(
    services: Services,
    place: Place,
    stocked: SetStock,
    database: OrderDatabase,
    finish: Finish,
    books: Books,
    logged: list[Any],
) -> None:
    """Stock that was taken is not taken again."""
    stocked(apple=100)
    ids = authorized(services, place, 3, apple=2)
    move(services, database, ids[1], "apple", 2)
    perform(services.orders, steps.DECREMENT, ids)
    finish(services, *ids)
    assert {order["status"] for order in books.check()} == {"confirmed"}
    assert books.levels() == {"apple": 94}
    assert [line["order_id"] for line in logged if "already has" in line["event"]] == [ids[1]]
    assert faults(logged) == []


@pytest.mark.parametrize("change", DAMAGES, ids=str)
def test_an_overdue_order_that_cannot_be_judged_is_postponed_and_the_others_are_sent(
    change: dict[str, Any],
    services: Services,
    clock: StoppedClock,
    place: Place,
    database: OrderDatabase,
    books: Books,
    logged: list[Any],
) -> None:
    ids = [place()["id"] for _ in range(5)]
    damage(database, ids[0], change)
    clock.advance(services.settings.step_deadline)
    assert sorted(swept(services)[steps.AUTHORIZE.name]) == sorted(ids[1:])
    assert faults(logged) == [ids[0]]
    assert swept(services) == {}

    waits = []
    for _ in range(6):
        waits.append((books.document(ids[0])["dueBy"] - clock()).total_seconds())
        clock.advance(timedelta(seconds=waits[-1]))
        swept(services)
    assert waits[5] > 4 * waits[0] > 0
    assert faults(logged) == [ids[0]] * 7

    found = differences(services, reconciled(services, scopes=("orders",)))
    assert ids[0] in {whose(one) for one in found}


def test_owed_steps_are_published_past_an_order_that_cannot_be_judged(
    services: Services, place: Place, database: OrderDatabase
) -> None:
    ids = [place()["id"] for _ in range(3)]
    damage(database, ids[1], NO_PAYMENT)
    assert set(all_owed_steps(services.orders, None)[0][steps.AUTHORIZE.name]) == {ids[0], ids[2]}


@pytest.mark.parametrize("change", DAMAGES, ids=str)
def test_a_step_is_done_for_the_others_of_a_batch_with_an_order_that_cannot_be_judged(
    change: dict[str, Any],
    services: Services,
    place: Place,
    database: OrderDatabase,
    books: Books,
    logged: list[Any],
) -> None:
    ids = [place()["id"] for _ in range(5)]
    damage(database, ids[2], change)
    perform(services.orders, steps.AUTHORIZE, ids)
    good = [order_id for order_id in ids if order_id != ids[2]]
    assert {books.order(order_id)["payment"]["status"] for order_id in good} == {"authorized"}
    assert set(faults(logged)) <= {ids[2]}


@pytest.mark.parametrize(
    "change",
    [*DAMAGES, {"$unset": {"publicVersion": ""}}, {"$set": {"events": [7]}}, {"$set": {"events.0.at": 7}}],
    ids=str,
)
def test_events_are_announced_past_an_order_whose_events_cannot_be_read(
    change: dict[str, Any],
    services: Services,
    place: Place,
    database: OrderDatabase,
    books: Books,
    logged: list[Any],
    endpoint: Endpoint,
) -> None:
    """Each on its channel and to the endpoint, once, and the one is tried again later."""
    ids = [place()["id"] for _ in range(5)]
    damage(database, ids[2], change)
    announce(services.notifications, ids)
    good = {order_id for order_id in ids if order_id != ids[2]}
    assert {record["orderId"] for record in books.notifications()} >= good
    assert {record["orderId"] for record in records(services, endpoint)} >= good
    assert all("dueBy" in books.document(order_id) for order_id in ids)
    assert {books.document(order_id)["announced"] for order_id in good} == {1}
    lines = [line["order_id"] for line in logged if line["event"] == "notification"]
    assert sorted(order_id for order_id in lines if order_id in good) == sorted(good)


def test_an_endpoint_that_cannot_be_read_keeps_no_webhook_from_the_others(
    services: Services,
    place: Place,
    database: OrderDatabase,
    endpoint: Endpoint,
    receiver: Receiver,
    logged: list[Any],
) -> None:
    well = add_endpoint(services.webhooks, receiver.url(), ["*"])
    key = ObjectId(endpoint["id"])
    damage_document(database, "webhook_endpoints", key, {"$unset": {"createdAt": "", "events": ""}})
    announce(services.notifications, [place()["id"]])
    assert [delivery["endpointId"] for delivery in database["webhook_deliveries"].find()] == [well["id"]]
    assert [line["endpoint"] for line in logged if line["log_level"] == "error"] == [endpoint["id"]]


def test_late_orders_expire_past_more_than_a_batch_of_those_that_cannot(
    services: Services,
    clock: StoppedClock,
    place: Place,
    database: OrderDatabase,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 3)
    ids = [place()["id"] for _ in range(11)]
    for order_id in ids[:7]:
        damage(database, order_id, NO_PAYMENT)
    clock.advance(services.settings.order_expiry + timedelta(milliseconds=1))
    assert expire_orders(services.orders) == 4
    assert {books.order(order_id)["status"] for order_id in ids[7:]} == {"cancelled"}


def test_deleted_orders_are_purged_past_one_that_the_database_keeps(
    services: Services,
    clock: StoppedClock,
    place: Place,
    finish: Finish,
    books: Books,
    logged: list[Any],
) -> None:
    ids = [place()["id"] for _ in range(5)]
    for order_id in ids:
        delete_order(services.orders, order_id, actor="u")
    finish(services, *ids)
    announce(services.notifications, ids)
    purge = services.feed.store.purge

    def refuse(order_ids: Any) -> None:
        if ids[1] in order_ids:
            raise RuntimeError("a fault of ours")
        purge(order_ids)

    refusing: Any = SimpleNamespace(purge=refuse)
    clock.advance(timedelta(days=services.settings.retention_days, seconds=1))
    assert purge_deleted_orders(with_parts(services, feed=refusing).orders) == 4
    assert [order["id"] for order in books.orders()] == [ids[1]]
    assert faults(logged) == [ids[1]]


def test_payment_events_are_taken_in_past_one_that_cannot_be(
    services: Services,
    place: Place,
    database: OrderDatabase,
    provider_events: ProviderEvents,
    logged: list[Any],
) -> None:
    ids = [provider_events.post(place()["id"], "payment.authorized") for _ in range(3)]
    damage_document(database, "payment_events", ids[1], {"$unset": {"receivedAt": "", "attempts": ""}})
    provider_events.work()
    assert [provider_events.row(one)["status"] for one in ids] == ["done", "pending", "done"]
    assert {line["event_id"] for line in logged if line["log_level"] == "error"} == {ids[1]}


def test_loads_of_stock_are_finished_past_one_that_cannot_be(
    services: Services, database: OrderDatabase, books: Books, logged: list[Any]
) -> None:
    broken = services.stock.loads.begin([{"apple": 1}], services.clock())
    services.stock.loads.begin([{"bread": 2}], services.clock())
    damage_document(database, "stock_loads", ObjectId(broken), {"$set": {"parts": [b"no load"]}})
    loading.finish_loads(services.stock)
    assert books.levels() == {"bread": 2}
    assert services.stock.loads.unfinished() == [broken]
    assert [line["load"] for line in logged if line["log_level"] == "error"] == [broken]
