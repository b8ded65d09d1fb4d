"""A transaction that a killed worker leaves open holds up what it has locked, and nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure

from app.clock import now
from app.errors import DatabaseUnavailable, StockBusy
from app.mongo.database import connect
from app.mongo.locks import transaction_limit, warn_of_lasting_locks
from app.orders import steps
from app.orders.processing import perform
from app.orders.service import change_status
from app.orders.sweeping import expire_orders
from app.stock.service import set_level
from deploy.local.runner import PARAMETERS
from tests.support.announcing import announce
from tests.support.doubles import swept, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.mongo.database import OrderDatabase, Transaction
    from app.services import Services
    from deploy.local.servers import MongoServer
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place, SetStock

pytestmark = pytest.mark.slow

# MongoDB ends such a transaction after 60 to 90 seconds; nothing here may take a good part of that.
SECONDS = 15.0


@pytest.fixture
def left_open(database: OrderDatabase) -> Iterator[Transaction]:
    """A transaction that stays open until the test aborts it."""
    with database.client.start_session() as session:
        session.start_transaction()
        yield session
        if session.in_transaction:
            session.abort_transaction()


@pytest.fixture
def lock(database: OrderDatabase, left_open: Transaction) -> Callable[..., None]:
    """As in `lock("apple", order_id)`: writes products and orders, as a worker does before it commits."""

    def write(*keys: str) -> None:
        for key in keys:
            if ObjectId.is_valid(key):
                change = {"$set": {"dueBy": now()}}
                database["orders"].update_one({"_id": ObjectId(key)}, change, session=left_open)
            else:
                database["stock"].update_one({"_id": key}, {"$inc": {"onHand": -1}}, session=left_open)

    return write


@pytest.fixture
def soon() -> Iterator[None]:
    """Fails the test if it has waited for a lock."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


def authorized(services: Services, place: Place, **wanted: int) -> str:
    """An order that waits for its stock."""
    order_id = place(**wanted)["id"]
    perform(services.orders, steps.AUTHORIZE, [order_id])
    return order_id


@pytest.mark.usefixtures("soon")
def test_orders_of_other_products_go_on_and_those_of_a_locked_one_wait_shortly(
    services: Services,
    clock: StoppedClock,
    place: Place,
    stocked: SetStock,
    finish: Finish,
    books: Books,
    lock: Callable[..., None],
    left_open: Transaction,
    logged: list[Any],
) -> None:
    stocked(apple=50, bread=50, cheese=50)
    held = [authorized(services, place, apple=1, bread=1), authorized(services, place, apple=2)]
    free = [authorized(services, place, bread=1), authorized(services, place, cheese=1)]
    dead = authorized(services, place, apple=1)
    lock("apple", dead)

    perform(services.orders, steps.DECREMENT, [held[0], free[0], dead, held[1], free[1]])

    assert {books.order(order_id)["stock"]["status"] for order_id in free} == {"decremented"}
    assert {books.order(order_id)["stock"]["status"] for order_id in [*held, dead]} == {"pending"}
    for order_id in held:
        assert 0 < (books.document(order_id)["dueBy"] - clock()).total_seconds() < 1
    assert [line for line in logged if line["log_level"] in ("error", "warning")] == []

    left_open.abort_transaction()
    clock.advance(services.settings.step_deadline)
    assert sorted(swept(services)[steps.DECREMENT.name]) == sorted([*held, dead])
    finish(services, *held, *free, dead)
    assert {order["status"] for order in books.check()} == {"confirmed"}


@pytest.mark.usefixtures("soon")
def test_an_order_that_is_locked_without_its_products_is_left_out(
    services: Services,
    place: Place,
    finish: Finish,
    books: Books,
    lock: Callable[..., None],
    left_open: Transaction,
) -> None:
    """Its products are not tracked, so the transaction has written no level."""
    ids = [authorized(services, place) for _ in range(9)]
    lock(ids[4])
    perform(services.orders, steps.DECREMENT, ids)
    stocks = {order_id: books.order(order_id)["stock"]["status"] for order_id in ids}
    assert stocks == {**dict.fromkeys(ids, "decremented"), ids[4]: "pending"}
    left_open.abort_transaction()
    finish(services, *ids)
    assert {order["status"] for order in books.check()} == {"confirmed"}


def test_the_wait_for_locked_stock_grows_and_stays_short(
    services: Services,
    clock: StoppedClock,
    place: Place,
    stocked: SetStock,
    books: Books,
    lock: Callable[..., None],
) -> None:
    stocked(apple=50)
    order_id = authorized(services, place, apple=1)
    lock("apple")
    for attempt in range(6):
        perform(services.orders, steps.DECREMENT, [order_id])
        middle = min(5.0, 0.5 * 2**attempt)
        assert middle * 0.49 < (books.document(order_id)["dueBy"] - clock()).total_seconds() < middle * 1.51


@pytest.mark.usefixtures("soon")
def test_stock_is_put_back_past_a_locked_product(
    services: Services,
    place: Place,
    stocked: SetStock,
    finish: Finish,
    books: Books,
    lock: Callable[..., None],
) -> None:
    stocked(apple=50, bread=50)
    ids = [place(apple=1)["id"], place(bread=1)["id"]]
    finish(services, *ids)
    for order_id in ids:
        change_status(services.orders, order_id, "cancelled", actor="user")
    lock("apple")
    perform(services.orders, steps.RESTOCK, ids)
    assert [books.order(order_id)["stock"]["status"] for order_id in ids] == ["decremented", "restocked"]


@pytest.mark.usefixtures("soon")
def test_a_locked_order_holds_up_no_announcement_payment_or_postponement_of_others(
    services: Services,
    clock: StoppedClock,
    place: Place,
    books: Books,
    database: OrderDatabase,
    lock: Callable[..., None],
) -> None:
    ids = [place(method=method)["id"] for method in (None, None, None, "sandbox_unavailable")]
    lock(ids[1])

    announce(services.notifications, ids)
    assert [books.document(order_id)["announced"] for order_id in ids] == [1, 0, 1, 1]

    perform(services.orders, steps.AUTHORIZE, ids)
    payments = [books.order(order_id)["payment"]["status"] for order_id in ids]
    assert payments == ["authorized", "pending", "authorized", "pending"]
    assert [books.document(order_id)["attempts"] for order_id in ids] == [0, 0, 0, 1]

    clock.advance(services.settings.step_deadline * 10)
    assert {one for ids in swept(services).values() for one in ids} == set(ids)
    assert set(swept(services)[steps.AUTHORIZE.name]) == {ids[1]}

    assert (
        expire_orders(with_parts(services, clock=lambda: clock() + services.settings.order_expiry).orders)
        == 3
    )
    assert books.order(ids[1])["status"] == "pending"


@pytest.mark.slow
def test_a_level_that_cannot_be_set_now_is_no_outage_of_the_database(
    services: Services, stocked: SetStock, lock: Callable[..., None]
) -> None:
    stocked(apple=50)
    lock("apple")
    with pytest.raises(StockBusy) as refusal:
        set_level(services.stock, "apple", 40)
    assert isinstance(refusal.value, DatabaseUnavailable)
    assert "reached" not in str(refusal.value)


def test_a_limit_that_keeps_locks_for_long_is_warned_of_with_the_remedy(
    database: OrderDatabase, logged: list[Any]
) -> None:
    """The server of the tests has MongoDB's own limit."""
    warn_of_lasting_locks(database)
    (line,) = logged
    assert (line["log_level"], line["seconds"]) == ("warning", 60)
    assert "transactionLifetimeLimitSeconds=5" in line["remedy"]


def test_the_limit_of_the_local_servers_needs_no_warning(
    private_mongo: Callable[..., MongoServer], logged: list[Any]
) -> None:
    with connect(private_mongo(parameters=PARAMETERS).uri("orders")).client as client:
        assert transaction_limit(client.orders) == 5
        warn_of_lasting_locks(client.orders)
    assert logged == []


def test_a_limit_that_may_not_be_read_is_not_spoken_of(logged: list[Any]) -> None:
    class Forbidding:
        """A database whose user may not read parameters."""

        client = admin = property(lambda self: self)

        def command(self, *_: object, **__: object) -> None:
            raise OperationFailure("not authorized on admin to execute command", 13)

    warn_of_lasting_locks(Forbidding())  # type: ignore[arg-type]
    assert {line["log_level"] for line in logged} == {"debug"}
