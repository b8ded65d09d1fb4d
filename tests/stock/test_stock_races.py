"""Many workers at once, orders of several lines, each product short for some: all lines or none, always."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.errors import InsufficientStock
from app.orders import steps
from app.orders.model import quantities
from app.orders.processing import perform
from app.orders.service import change_status
from app.stock.service import adjust, get_level, list_movements, set_level
from tests.support.doubles import at_once, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Finish, Place, SetStock

PRODUCTS = ("apple", "bread", "cheese", "dates")
WORKERS = 6


@pytest.fixture
def busy(services: Services) -> Services:
    """The services with a running clock."""
    return with_parts(services, clock=now)


def decrementing(services: Services, order_ids: list[str], batch: int) -> Callable[[], None]:
    """A worker that takes stock for all of the orders, in batches of its own choosing."""
    mixed = random.sample(order_ids, len(order_ids))

    def work() -> None:
        for start in range(0, len(mixed), batch):
            perform(services.orders, steps.DECREMENT, mixed[start : start + batch])

    return work


def some_lines() -> dict[str, Any]:
    """One to four products, up to three of each."""
    return {product: random.randint(1, 3) for product in random.sample(PRODUCTS, random.randint(1, 4))}


def test_workers_with_overlapping_batches_give_each_order_all_its_lines_or_none(
    busy: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    on_hand = dict.fromkeys(PRODUCTS, 25)
    stocked(**on_hand)
    ids = [place(**some_lines())["id"] for _ in range(60)]
    perform(busy.orders, steps.AUTHORIZE, ids)
    workers = [decrementing(busy, ids, batch) for batch in (7, 10, 15, 20, 30, 60)]
    assert at_once(*workers) == [None] * WORKERS
    finish(busy, *ids)

    orders = books.check()
    confirmed = [order for order in orders if order["status"] == "confirmed"]
    refused = [order for order in orders if order["status"] == "cancelled"]
    assert confirmed
    assert refused
    assert len(confirmed) + len(refused) == 60
    left = books.levels()
    for product in PRODUCTS:
        assert left[product] == on_hand[product] - sum(quantities(o).get(product, 0) for o in confirmed)
    for order in refused:
        assert all(short["requested"] > short["available"] for short in order["stock"]["shortages"])


def test_the_last_units_go_to_exactly_as_many_orders_as_there_are_units(
    busy: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=10)
    ids = [place(apple=1)["id"] for _ in range(40)]
    perform(busy.orders, steps.AUTHORIZE, ids)
    assert at_once(*(decrementing(busy, ids, 8) for _ in range(WORKERS))) == [None] * WORKERS
    finish(busy, *ids)
    statuses = [order["status"] for order in books.check()]
    assert (statuses.count("confirmed"), statuses.count("cancelled")) == (10, 30)
    assert books.levels() == {"apple": 0}


def test_orders_that_lock_the_same_products_in_opposite_order_all_come_through(
    busy: Services, place: Place, stocked: SetStock, books: Books, finish: Finish
) -> None:
    stocked(apple=100, bread=100)
    forward = [place(apple=1, bread=1)["id"] for _ in range(10)]
    backward = [place(bread=1, apple=1)["id"] for _ in range(10)]
    perform(busy.orders, steps.AUTHORIZE, forward + backward)
    works = [decrementing(busy, ids, 1) for ids in (forward, backward)]
    assert at_once(*works) == [None, None]
    finish(busy, *forward, *backward)
    assert {order["status"] for order in books.check()} == {"confirmed"}
    assert books.levels() == {"apple": 80, "bread": 80}


def test_taking_and_putting_back_at_once_keeps_level_and_ledger_together(
    busy: Services, place: Place, stocked: SetStock, finish: Finish, books: Books
) -> None:
    stocked(apple=30, bread=30)
    ended, coming = ([place(apple=2, bread=1)["id"] for _ in range(10)] for _ in range(2))
    finish(busy, *ended)
    for order_id in ended:
        change_status(busy.orders, order_id, "cancelled", actor="user")
    perform(busy.orders, steps.AUTHORIZE, coming)

    def restock() -> None:
        for start in (0, 5):
            perform(busy.orders, steps.RESTOCK, ended[start : start + 5])

    def count() -> None:
        for _ in range(5):
            adjust(busy.stock, "apple", 1, "found")

    assert (
        at_once(restock, restock, decrementing(busy, coming, 3), decrementing(busy, coming, 4), count)
        == [None] * 5
    )
    finish(busy, *ended, *coming)
    orders = books.check()
    confirmed = sum(order["status"] == "confirmed" for order in orders)
    assert books.levels() == {"apple": 35 - 2 * confirmed, "bread": 30 - confirmed}


def test_adjustments_at_once_never_take_a_level_below_zero(
    busy: Services, stocked: SetStock, books: Books
) -> None:
    stocked(apple=10)
    outcomes = at_once(*(lambda: adjust(busy.stock, "apple", -3, "damaged") for _ in range(8)))
    assert sum(isinstance(outcome, InsufficientStock) for outcome in outcomes) == 5
    books.check()
    assert books.levels() == {"apple": 1}


def test_setting_a_new_level_at_once_from_many_sides_leaves_one_of_them_and_a_ledger_that_sums(
    busy: Services, books: Books
) -> None:
    wanted = (3, 8, 13, 21)
    outcomes = at_once(*(lambda level=level: set_level(busy.stock, "apple", level) for level in wanted))
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert sum(created for _, created in outcomes) == 1
    books.check()
    assert books.levels()["apple"] in wanted


def test_the_movements_of_a_product_come_newest_first_in_pages_that_miss_none(
    busy: Services, stocked: SetStock
) -> None:
    stocked(apple=1)
    for number in range(2, 8):
        adjust(busy.stock, "apple", number, "counted")
    seen, after = [], None
    while True:
        page = list_movements(busy.stock, "apple", 3, after)
        seen += [row["quantity"] for row in page.items]
        after = page.next
        if after is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert get_level(busy.stock, "apple")["onHand"] == sum(seen)
