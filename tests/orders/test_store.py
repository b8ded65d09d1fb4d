"""The order documents: compare-and-set lets one writer win, and pages stay put while orders are added."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, monitoring

from app.orders import steps
from app.orders.model import Change, advance
from app.orders.query_store import OrderQuery
from app.orders.service import change_status, delete_order, list_orders
from app.orders.store import Orders
from tests.support.doubles import Crash, at_once

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.services import Services
    from deploy.local.servers import MongoServer
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

THREADS = 32


def changed(services: Services, order: Order, by: str) -> Order:
    """The order with an authorization added that is this writer's own."""
    return advance(order, services.clock(), by, [Change("payment.authorized", {"reference": by})])


def test_of_32_writers_from_one_version_one_wins(services: Services, place: Place, books: Books) -> None:
    order = place()
    afters = [changed(services, order, f"writer {number}") for number in range(THREADS)]
    won = at_once(
        *(
            lambda after=after: services.orders.store.append(order, after, services.orders.due_by())
            for after in afters
        )
    )
    assert Counter(won) == {True: 1, False: THREADS - 1}
    stored = books.order(order["id"])
    assert stored["version"] == len(stored["events"]) == 2
    assert stored["events"][-1]["actor"] == f"writer {won.index(True)}"


def test_many_changes_in_one_round_trip_return_exactly_the_beaten_ones(
    services: Services, place: Place, books: Books
) -> None:
    orders = [place() for _ in range(6)]
    for beaten in orders[::2]:
        assert services.orders.store.append(
            beaten, changed(services, beaten, "faster"), services.orders.due_by()
        )
    pairs = [(order, changed(services, order, "slower")) for order in orders]
    assert services.orders.store.append_all(pairs, services.orders.due_by()) == [
        order["id"] for order in orders[::2]
    ]
    actors = [books.order(order["id"])["events"][-1]["actor"] for order in orders]
    assert actors == ["faster", "slower"] * 3


def test_a_writer_that_won_before_another_is_not_reported_as_beaten(
    services: Services, place: Place, database: OrderDatabase, books: Books
) -> None:
    followed, beaten = place(), place()
    assert services.orders.store.append(beaten, changed(services, beaten, "faster"), services.orders.due_by())
    real, pairs = (
        database["orders"],
        [(order, changed(services, order, "ours")) for order in (followed, beaten)],
    )

    class AnotherGoesOn:
        """Right after our write another writer goes on from it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def bulk_write(self, *args: Any, **options: Any) -> Any:
            result = real.bulk_write(*args, **options)
            change_status(services.orders, followed["id"], "cancelled", actor="another")
            return result

    services.orders.store._collection, before = AnotherGoesOn(), services.orders.store._collection  # type: ignore[assignment]
    try:
        assert services.orders.store.append_all(pairs, services.orders.due_by()) == [beaten["id"]]
    finally:
        services.orders.store._collection = before
    assert books.order(followed["id"])["version"] == 4


def test_writers_of_overlapping_batches_share_the_orders_out_between_them(
    services: Services, place: Place, books: Books
) -> None:
    orders = [place() for _ in range(20)]

    def write(number: int) -> list[str]:
        pairs = [(order, changed(services, order, f"writer {number}")) for order in orders]
        return services.orders.store.append_all(pairs, services.orders.due_by())

    lost = at_once(*(lambda number=number: write(number) for number in range(8)))
    for order in orders:
        winners = [number for number, of_one in enumerate(lost) if order["id"] not in of_one]
        assert [f"writer {number}" for number in winners] == [books.order(order["id"])["events"][-1]["actor"]]


def test_an_order_and_its_stock_move_together_or_not_at_all(
    services: Services, place: Place, stocked: Any, books: Books
) -> None:
    stocked(apple=5)
    order = changed(services, place(), "x")
    before = books.levels(), books.movements(), books.order(order["id"])

    def work(transaction: Any) -> None:
        row: Any = {
            "id": order["id"],
            "productId": "apple",
            "quantity": -1,
            "kind": "decrement",
            "at": services.clock(),
        }
        services.stock.store.move({"apple": -1}, [row], services.clock(), transaction)
        assert not services.orders.store.append_all(
            [(books.order(order["id"]), order)], services.orders.due_by(), transaction
        )
        raise Crash

    with pytest.raises(Crash):
        services.stock.transact(work)
    assert (books.levels(), books.movements(), books.order(order["id"])) == before


@pytest.mark.parametrize("descending", [True, False])
def test_pages_miss_and_repeat_nothing_while_orders_are_added(
    descending: bool, services: Services, clock: StoppedClock, place: Place
) -> None:
    there = []
    for _ in range(23):
        there.append(place()["id"])
        clock.advance(timedelta(milliseconds=1))
    seen: list[str] = []
    after = None
    while True:
        page = list(list_orders(services.orders, OrderQuery(limit=5, descending=descending, after=after)))
        seen += [order["id"] for order in page[:5]]
        after = seen[-1]
        if len(page) <= 5:
            break
        clock.advance(timedelta(milliseconds=1))
        place()
    assert len(seen) == len(set(seen))
    assert [order_id for order_id in seen if order_id in there] == sorted(there, reverse=descending)
    assert descending == (set(seen) == set(there))


def test_a_page_that_is_ended_early_leaves_the_rest_in_the_database(
    services: Services, place: Place, mongo_server: MongoServer
) -> None:
    """Large orders would fill the memory otherwise."""
    for _ in range(60):
        place()
    replies = Replies()
    with MongoClient[Any](mongo_server.uri("services"), event_listeners=[replies]) as client:
        page = Orders(client.get_default_database()).page(OrderQuery(limit=100))
        assert len(list(islice(page, 5))) == 5
        assert replies.orders == 13
        assert len(list(page)) == 55
    assert replies.orders == 60


class Replies(monitoring.CommandListener):
    """Counts the orders that the server sends."""

    def __init__(self) -> None:
        self.orders = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        pass

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        cursor = event.reply.get("cursor", {})
        self.orders += len(cursor.get("firstBatch", ())) + len(cursor.get("nextBatch", ()))

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


def test_a_deleted_order_is_in_no_page_and_filters_combine(
    services: Services, clock: StoppedClock, place: Place
) -> None:
    kept, deleted = place(apple=1), place(apple=1)
    clock.advance(timedelta(seconds=1))
    moment = clock()
    later = place(bread=1)
    delete_order(services.orders, deleted["id"], actor="u")

    def ids(**filters: Any) -> set[str]:
        return {order["id"] for order in list_orders(services.orders, OrderQuery(**filters))}

    assert ids() == {kept["id"], later["id"]}
    assert ids(product_id="apple", statuses=("pending", "cancelled")) == {kept["id"]}
    assert ids(created_from=moment) == {later["id"]}
    assert ids(created_to=moment) == {kept["id"]}
    assert ids(created_from=moment, product_id="apple") == set()
    assert ids(user_id="user", payment_status="pending") == {kept["id"], later["id"]}
    assert ids(statuses=("shipped",)) == ids(user_id="nobody") == ids(reference="none") == set()


def test_due_by_stands_while_a_step_is_owed_and_goes_with_the_last(
    services: Services, place: Place, finish: Finish, books: Books
) -> None:
    order = place()
    assert books.document(order["id"])["dueBy"] == services.orders.due_by()
    finish(services, order["id"])
    assert "dueBy" in books.document(order["id"])
    services.orders.due_work.mark_announced([{**books.order(order["id"]), "announced": 5}])
    assert "dueBy" not in books.document(order["id"])
    assert steps.due(books.order(order["id"])) == []
