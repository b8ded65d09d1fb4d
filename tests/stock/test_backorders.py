"""Orders that wait for stock: who is served first, with what, and what happens if nothing comes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from app.clock import now
from app.config import Settings
from app.orders import steps
from app.orders.model import advance
from app.orders.part_cancelling import part_cancellation
from app.orders.processing import perform
from app.orders.service import change_status, place_order
from app.orders.sweeping import expire_orders
from app.stock.service import adjust, set_level
from app.stock.taking import deal_stock
from tests.support.doubles import Crash, at_once, followed, swept, with_parts

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place, SetStock

DAY = timedelta(days=1)
TICK = timedelta(milliseconds=1)


class Backorder(Protocol):
    """Places a backorder of so many of each product, and tries to take its stock."""

    def __call__(self, **wanted: int) -> str: ...


def draft(services: Services, wanted: dict[str, int], **fields: Any) -> Any:
    return {
        "userId": "user",
        "products": [{"productId": product, "quantity": number} for product, number in wanted.items()],
        "totalAmount": 1000,
        "currency": "USD",
        **fields,
    }


def placed(services: Services, wanted: dict[str, int], **fields: Any) -> str:
    fields = {"onShortage": "backorder", "backorderUntil": services.clock() + DAY, **fields}
    return place_order(
        services.orders, draft(services, wanted, **fields), actor="user", key=None, digest=""
    ).order["id"]


@pytest.fixture
def backorder(services: Services, clock: StoppedClock) -> Backorder:
    """As in `backorder(apple=2)`. Each is younger than the one before."""

    def place(**wanted: int) -> str:
        clock.advance(TICK)
        order_id = placed(services, wanted)
        perform(services.orders, steps.DECREMENT_FIRST, [order_id])
        return order_id

    return place


def stock_of(books: Books, *order_ids: str) -> list[str]:
    return [books.order(order_id)["stock"]["status"] for order_id in order_ids]


def test_a_backorder_waits_for_what_is_missing_and_is_served_when_it_comes(
    services: Services, stocked: SetStock, backorder: Backorder, finish: Finish, books: Books
) -> None:
    stocked(apple=1, bread=5)
    order_id = backorder(apple=2, bread=1)
    waiting = books.order(order_id)
    assert waiting["stock"] == {
        "status": "backordered",
        "shortages": [{"productId": "apple", "requested": 2, "available": 1}],
    }
    assert (waiting["status"], books.owed(order_id), books.levels()) == (
        "pending",
        set(),
        {"apple": 1, "bread": 5},
    )
    assert books.payment(order_id) is None
    adjust(services.stock, "apple", 1, "delivery")
    assert deal_stock(services.stock) == 1
    assert books.levels() == {"apple": 0, "bread": 4}
    assert "shortages" not in books.order(order_id)["stock"]
    finish(services, order_id)
    (ended,) = books.check()
    assert [event["type"] for event in ended["events"]] == [
        "order.created", "stock.backordered", "stock.decremented", "payment.authorized", "payment.captured",
        "order.confirmed",
    ]  # fmt: skip


def test_stock_that_comes_is_dealt_oldest_first_and_whole_or_not_at_all(
    services: Services, stocked: SetStock, backorder: Backorder, books: Books
) -> None:
    stocked(apple=0)
    large, small, later, last = (backorder(apple=number) for number in (5, 2, 2, 1))
    adjust(services.stock, "apple", 3, "delivery")
    deal_stock(services.stock)
    # Nothing is reserved for the large one. The third does not fit any more, and the last one does.
    assert stock_of(books, large, small, later, last) == [
        "backordered", "decremented", "backordered", "decremented",
    ]  # fmt: skip
    set_level(services.stock, "apple", 7)
    deal_stock(services.stock)
    assert stock_of(books, large, later) == ["decremented", "decremented"]
    assert books.levels() == {"apple": 0}


def test_stock_that_came_goes_to_new_and_waiting_orders_by_age(
    services: Services,
    clock: StoppedClock,
    stocked: SetStock,
    backorder: Backorder,
    place: Place,
    books: Books,
) -> None:
    stocked(apple=0, bread=9)
    oldest = placed(services, {"apple": 1})
    waiting = backorder(apple=1)
    clock.advance(TICK)
    new, paid = placed(services, {"apple": 1}), place(apple=1)["id"]
    free = placed(services, {"bread": 1})
    perform(services.orders, steps.AUTHORIZE, [paid])
    adjust(services.stock, "apple", 2, "delivery")
    perform(services.orders, steps.DECREMENT_FIRST, [new, free, oldest])
    assert stock_of(books, oldest, waiting, free, new) == [
        "decremented", "decremented", "decremented", "backordered",
    ]  # fmt: skip
    perform(services.orders, steps.DECREMENT, [paid])
    assert stock_of(books, paid) == ["insufficient"]


def test_an_order_that_is_paid_first_is_dealt_stock_behind_older_ones_that_wait(
    services: Services,
    clock: StoppedClock,
    stocked: SetStock,
    backorder: Backorder,
    place: Place,
    books: Books,
) -> None:
    stocked(apple=0)
    waiting = backorder(apple=1)
    clock.advance(TICK)
    paid = place(apple=1)["id"]
    adjust(services.stock, "apple", 1, "delivery")
    perform(services.orders, steps.AUTHORIZE, [paid], steps.STEPS)
    assert stock_of(books, waiting, paid) == ["decremented", "insufficient"]


def test_a_new_order_takes_what_the_waiting_ones_passed_over(
    services: Services, stocked: SetStock, backorder: Backorder, place: Place, finish: Finish, books: Books
) -> None:
    stocked(apple=1)
    waiting = backorder(apple=3)
    new = place(apple=1)["id"]
    finish(services, new)
    assert (books.order(new)["status"], *stock_of(books, waiting)) == ("confirmed", "backordered")


def test_what_a_cancelled_order_puts_back_serves_a_waiting_one(
    services: Services, stocked: SetStock, backorder: Backorder, place: Place, finish: Finish, books: Books
) -> None:
    stocked(apple=2)
    first = place(apple=2)["id"]
    finish(services, first)
    waiting = backorder(apple=2)
    change_status(services.orders, first, "cancelled", actor="user")
    finish(services, first)
    assert deal_stock(services.stock) == 1
    finish(services, waiting)
    assert [order["status"] for order in books.check()] == ["cancelled", "confirmed"]


def test_a_part_cancellation_can_make_a_backorder_fit(
    services: Services, stocked: SetStock, backorder: Backorder, finish: Finish, books: Books
) -> None:
    stocked(apple=2, bread=1)
    order_id = backorder(apple=3, bread=1)
    before = services.orders.store.load([order_id])[0]
    changes = part_cancellation(before, [1, 0], amount=100)
    after = advance(before, services.clock(), "user", changes, "create_cancellation")
    assert services.orders.store.append(before, after, services.orders.due_by())
    assert books.owed(order_id) == {steps.DECREMENT_FIRST.name}
    finish(services, order_id)
    assert books.order(order_id)["status"] == "confirmed"
    assert books.levels() == {"apple": 0, "bread": 0}


def test_a_backorder_states_anew_what_it_waits_for_when_that_changes(
    services: Services, stocked: SetStock, backorder: Backorder, books: Books, place: Place, finish: Finish
) -> None:
    stocked(apple=0, bread=1)
    order_id = backorder(apple=1, bread=1)
    finish(services, place(bread=1)["id"])
    adjust(services.stock, "apple", 1, "delivery")
    deal_stock(services.stock)
    assert [short["productId"] for short in books.order(order_id)["stock"]["shortages"]] == ["bread"]
    adjust(services.stock, "bread", 1, "delivery")
    deal_stock(services.stock)
    assert stock_of(books, order_id) == ["decremented"]


def test_a_backorder_ends_as_out_of_stock_and_the_provider_is_never_asked(
    services: Services, clock: StoppedClock, stocked: SetStock, backorder: Backorder, books: Books
) -> None:
    stocked(apple=0)
    waiting, untried = backorder(apple=1), placed(services, {"apple": 1})
    clock.advance(services.settings.order_expiry + TICK)
    assert expire_orders(services.orders) == 0
    clock.advance(DAY)
    assert expire_orders(services.orders) == 2
    for order in books.check():
        assert (order["cancellation"]["reason"], order["payment"]["status"]) == ("out_of_stock", "voided")
    assert stock_of(books, waiting, untried) == ["insufficient", "released"]
    assert [books.payment(order_id) for order_id in (waiting, untried)] == [None, None]
    assert swept(services).keys() <= {steps.ANNOUNCE.name}


def test_a_backorder_has_its_whole_time_from_the_moment_at_which_it_takes_its_stock(
    services: Services,
    clock: StoppedClock,
    stocked: SetStock,
    backorder: Backorder,
    finish: Finish,
    books: Books,
) -> None:
    stocked(apple=0)
    order_id, expiry = backorder(apple=1), services.settings.order_expiry
    clock.advance(DAY / 2)
    adjust(services.stock, "apple", 1, "delivery")
    deal_stock(services.stock)
    assert books.order(order_id)["stock"]["heldUntil"] == services.clock() + expiry
    clock.advance(expiry)
    assert expire_orders(services.orders) == 0
    clock.advance(TICK)
    assert expire_orders(services.orders) == 1
    finish(services, order_id)
    assert books.check()[0]["cancellation"]["reason"] == "expired"
    assert books.levels() == {"apple": 1}


def test_a_customer_may_cancel_a_backorder(
    services: Services, stocked: SetStock, backorder: Backorder, books: Books
) -> None:
    stocked(apple=0)
    order_id = backorder(apple=1)
    change_status(services.orders, order_id, "cancelled", actor="user")
    (ended,) = books.check()
    assert (ended["stock"]["status"], ended["payment"]["status"]) == ("released", "voided")
    adjust(services.stock, "apple", 1, "delivery")
    deal_stock(services.stock)
    assert (books.levels(), books.payment(order_id)) == ({"apple": 1}, None)


# The calls of a deal after each of which its process may die.
CALLS = (
    ("stock", "arrivals"),
    ("orders", "waiting_for"),
    ("stock", "supply"),
    ("stock", "move"),
    ("orders", "append_all"),
    ("stock", "end_arrival"),
)


@pytest.mark.parametrize(("collaborator", "method"), CALLS, ids=".".join)
@pytest.mark.parametrize("by", ["beat", "a new order"])
def test_a_process_that_dies_while_it_deals_leaves_the_rest_to_the_next(
    by: str,
    collaborator: str,
    method: str,
    services: Services,
    stocked: SetStock,
    backorder: Backorder,
    finish: Finish,
    books: Books,
) -> None:
    stocked(apple=0, bread=0)
    ids = [backorder(apple=1), backorder(apple=1), backorder(apple=1, bread=1)]
    adjust(services.stock, "apple", 2, "delivery")
    dying = followed(services, collaborator, method, crash)
    if by == "beat":
        with pytest.raises(Crash):
            deal_stock(dying.stock)
    else:
        ids.append(placed(services, {"apple": 1}))
        with pytest.raises(Crash):
            perform(dying.orders, steps.DECREMENT_FIRST, ids[-1:])
    deal_stock(services.stock)
    deal_stock(services.stock)
    finish(services, *ids)
    assert [books.order(one)["status"] for one in ids[:3]] == ["confirmed", "confirmed", "pending"]
    assert books.levels() == {"apple": 0, "bread": 0}


def crash() -> None:
    """Dies."""
    raise Crash


def test_no_order_waits_for_stock_that_came_while_it_began_to_wait(
    services: Services, stocked: SetStock, books: Books
) -> None:
    """Whichever of the two transactions is first."""
    busy = with_parts(services, clock=now)
    stocked(apple=0)
    for _ in range(25):
        order_id = placed(busy, {"apple": 1})
        at_once(
            lambda order_id=order_id: perform(busy.orders, steps.DECREMENT_FIRST, [order_id]),
            lambda: adjust(busy.stock, "apple", 1, "delivery"),
        )
        perform(busy.orders, steps.DECREMENT_FIRST, [order_id])
        deal_stock(busy.stock)
        assert stock_of(books, order_id) == ["decremented"]
    assert books.levels() == {"apple": 0}


def test_workers_that_deal_at_once_serve_nobody_twice_and_the_oldest_first(
    services: Services, stocked: SetStock, books: Books, finish: Finish
) -> None:
    busy = with_parts(services, clock=now)
    stocked(apple=0)
    ids = [placed(busy, {"apple": 1}) for _ in range(40)]
    perform(busy.orders, steps.DECREMENT_FIRST, ids)
    new: list[str] = []

    def sell() -> None:
        new.append(placed(busy, {"apple": 1}))
        perform(busy.orders, steps.DECREMENT_FIRST, new[-1:])

    for delivery in range(1, 4):
        adjust(busy.stock, "apple", 10, "delivery")
        at_once(sell, *(lambda: deal_stock(busy.stock) for _ in range(3)))
        deal_stock(busy.stock)
        served = [one for one in ids if books.order(one)["stock"]["status"] == "decremented"]
        assert served == ids[: 10 * delivery]
    assert stock_of(books, *new) == ["backordered"] * 3
    assert books.levels() == {"apple": 0}
    finish(busy, *ids, *new)


def test_a_load_serves_orders_that_wait_for_a_product_that_was_not_tracked(
    database: OrderDatabase, services: Services, clock: StoppedClock, books: Books
) -> None:
    strict = services.anew(settings=Settings.from_env({"AUTH": "off", "STOCK_POLICY": "strict"}), clock=clock)
    order_id = placed(strict, {"apple": 2})
    perform(strict.orders, steps.DECREMENT_FIRST, [order_id])
    assert stock_of(books, order_id) == ["backordered"]
    set_level(strict.stock, "apple", 1)
    deal_stock(strict.stock)
    # An order may wait whose transaction has not seen the new level. So the mark stays for a while.
    assert database["stock"].find_one({"_id": "apple"}, {"came": 1})["came"]  # type: ignore[index]
    clock.advance(timedelta(seconds=21))
    deal_stock(strict.stock)
    assert "came" not in database["stock"].find_one({"_id": "apple"})  # type: ignore[operator]
    adjust(strict.stock, "apple", 1, "delivery")
    deal_stock(strict.stock)
    assert stock_of(books, order_id) == ["decremented"]


def test_a_damaged_order_that_waits_holds_up_no_other(
    services: Services, stocked: SetStock, backorder: Backorder, database: OrderDatabase, books: Books
) -> None:
    stocked(apple=0)
    bad, good = backorder(apple=1), backorder(apple=1)
    database["orders"].update_one(
        {"number": books.document(bad)["number"]},
        {"$set": {"payment.refundedAmount": 5}},
        bypass_document_validation=True,
    )
    adjust(services.stock, "apple", 2, "delivery")
    deal_stock(services.stock)
    assert stock_of(books, bad, good) == ["backordered", "decremented"]
    assert books.levels() == {"apple": 1}
    assert services.stock.store.arrivals(10) == []
