"""Stock that is taken before the payment, and what becomes of an order whose stock is short."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.config import Settings
from app.orders import public, steps
from app.orders.processing import perform
from app.orders.service import change_status, place_order
from app.orders.sweeping import expire_orders
from app.stock.service import get_level, list_levels
from tests.support.doubles import Crash, followed, swept

if TYPE_CHECKING:
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place, SetStock

TICK = timedelta(milliseconds=1)
# The calls of a run after each of which the worker may die: the collaborator, its method, which call of it.
CALLS = (
    ("orders", "load", 1),
    ("notifications", "record", 1),
    ("stock", "supply", 1),
    ("stock", "move", 1),
    ("orders", "append_all", 1),
    ("payments", "authorize", 1),
    ("orders", "append_all", 2),
    ("payments", "capture", 1),
    ("orders", "append_all", 3),
    ("due_work", "mark_announced", 1),
)
# A transaction holds the order once it has written it: nobody else comes in between.
BETWEEN = [call for call in CALLS if call not in (("stock", "move", 1), ("orders", "append_all", 1))]


@pytest.fixture
def settings() -> Settings:
    """The settings of a shop that takes stock first."""
    return Settings.from_env({"AUTH": "off", "STOCK_FIRST": "true"})


def name(value: tuple[str, str, int]) -> str:
    """How a case reads in the report."""
    return ".".join(map(str, value))


def run(services: Services, *order_ids: str) -> None:
    """What a worker of all queues does with the message of new orders."""
    perform(services.orders, steps.DECREMENT_FIRST, order_ids, steps.STEPS)


def shown(order: Any) -> Any:
    return public.order(order, for_shop=True)


def test_one_message_takes_the_stock_then_the_authorization_then_the_money(
    services: Services, stocked: SetStock, place: Place, books: Books
) -> None:
    stocked(apple=5)
    order_id = place(apple=2)["id"]
    with services.changes.follow(services.changes.present_resume_token()) as follower:
        run(services, order_id)
        changes: list[Any] = []
        while len(changes) < 3:
            changes += follower.take(1.0)
    assert [(change.event_types, change.carried) for change in changes] == [
        (["stock.decremented"], True),
        (["payment.authorized"], True),
        (["payment.captured", "order.confirmed"], True),
    ]
    (ended,) = books.check()
    assert (ended["status"], books.levels(), steps.due(ended)) == ("confirmed", {"apple": 3}, [])


def test_the_relay_sends_a_new_order_to_its_first_step_only(services: Services, place: Place) -> None:
    with services.changes.follow(services.changes.present_resume_token()) as follower:
        place()
        changes: list[Any] = []
        while not changes:
            changes += follower.take(1.0)
    assert [change.stock_first for change in changes] == [True]
    assert steps.to_send(changes[0].event_types, stock_first=True) == {steps.DECREMENT_FIRST.name}


def test_of_a_shortage_the_provider_never_hears(
    services: Services, stocked: SetStock, place: Place, books: Books
) -> None:
    stocked(apple=1)
    order_id = place(apple=2)["id"]
    run(services, order_id)
    (ended,) = books.check()
    assert [event["type"] for event in ended["events"]] == [
        "order.created", "stock.insufficient", "order.cancelled", "payment.voided",
    ]  # fmt: skip
    assert (ended["stock"]["status"], ended["payment"]["status"]) == ("insufficient", "voided")
    assert ended["cancellation"] == {"reason": "out_of_stock"}
    assert books.payment(order_id) is None


def test_a_decline_puts_the_stock_back(
    services: Services, stocked: SetStock, place: Place, books: Books
) -> None:
    stocked(apple=5)
    run(services, place(apple=2, method="sandbox_declined")["id"])
    (ended,) = books.check()
    assert (ended["cancellation"]["reason"], ended["stock"]["status"]) == ("payment_declined", "restocked")
    assert books.levels() == {"apple": 5}


def test_an_order_that_waits_for_its_payment_holds_stock_until_it_expires(
    services: Services, clock: StoppedClock, stocked: SetStock, place: Place, finish: Finish, books: Books
) -> None:
    stocked(apple=5, bread=1)
    placed_at = services.clock()
    order_id = place(apple=2, method="sandbox_unavailable")["id"]
    clock.advance(timedelta(seconds=1))
    run(services, order_id)
    expiry = services.settings.order_expiry
    assert books.order(order_id)["stock"]["heldUntil"] == placed_at + expiry
    assert b'"heldUntil"' in public.order_text(books.order(order_id), for_shop=False)
    level = get_level(services.stock, "apple")
    assert (level["onHand"], level["held"]) == (3, 2)
    page = list_levels(services.stock, 10, None).items
    assert [(one["productId"], one["held"]) for one in page] == [("apple", 2), ("bread", 0)]
    clock.advance(expiry)
    expire_orders(services.orders)
    finish(services, order_id)
    (ended,) = books.check()
    assert (ended["cancellation"]["reason"], ended["stock"]["status"]) == ("expired", "restocked")
    assert b'"heldUntil"' not in public.order_text(ended, for_shop=True)
    level = get_level(services.stock, "apple")
    assert (level["onHand"], level["held"]) == (5, 0)


def test_an_order_keeps_the_order_of_steps_that_it_began_with(
    services: Services, stocked: SetStock, place: Place, finish: Finish, books: Books
) -> None:
    stocked(apple=2)
    place(apple=1)
    later = services.anew(settings=Settings.from_env({"AUTH": "off"}))
    finish(later, *(order["id"] for order in books.orders()))
    assert [event["type"] for event in books.check()[0]["events"]][1:3] == [
        "stock.decremented", "payment.authorized",
    ]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=name)
def test_a_worker_that_dies_anywhere_leaves_an_order_that_ends_well(
    call: tuple[str, str, int],
    services: Services,
    clock: StoppedClock,
    stocked: SetStock,
    place: Place,
    books: Books,
) -> None:
    stocked(apple=5)
    order_id = place(apple=2)["id"]
    collaborator, method, nth = call
    with pytest.raises(Crash):
        run(followed(services, collaborator, method, crash, nth), order_id)
    sweep(services, clock)
    (ended,) = books.check()
    assert (ended["status"], books.levels(), ended["version"]) == ("confirmed", {"apple": 3}, 5)


@pytest.mark.parametrize("call", BETWEEN, ids=name)
def test_a_cancel_anywhere_in_a_run_gives_back_money_and_stock(
    call: tuple[str, str, int],
    services: Services,
    clock: StoppedClock,
    stocked: SetStock,
    place: Place,
    books: Books,
) -> None:
    stocked(apple=5)
    order_id = place(apple=2)["id"]
    collaborator, method, nth = call
    cancel = lambda: change_status(services.orders, order_id, "cancelled", actor="user")  # noqa: E731
    run(followed(services, collaborator, method, cancel, nth), order_id)
    sweep(services, clock)
    (ended,) = books.check()
    assert (ended["status"], books.levels()) == ("cancelled", {"apple": 5})


def crash() -> None:
    """Dies."""
    raise Crash


def sweep(services: Services, clock: StoppedClock) -> None:
    """Sweeps and works until nothing is overdue."""
    named = {step.name: step for step in steps.STEPS}
    for _ in range(8):
        clock.advance(services.settings.step_deadline + timedelta(seconds=1))
        owed = swept(services)
        for step, ids in owed.items():
            perform(services.orders, named[step], ids, steps.STEPS)
        if not owed:
            return
    raise AssertionError(owed)


def partial_order(services: Services, *lines: tuple[str, int, int], **fields: Any) -> str:
    """Places an order of these lines: product, quantity, price."""
    draft: Any = {
        "userId": "user",
        "products": [
            {"productId": product, "quantity": quantity, "unitPrice": price}
            for product, quantity, price in lines
        ],
        "totalAmount": sum(quantity * price for _, quantity, price in lines),
        "currency": "USD",
        "onShortage": "partial",
        **fields,
    }
    return place_order(services.orders, draft, actor="user", key=None, digest="").order["id"]


@pytest.mark.parametrize("first", ["true", "false"])
def test_lines_are_cut_to_what_is_there_from_the_last_one_and_only_that_is_paid(
    first: str, services: Services, stocked: SetStock, finish: Finish, books: Books
) -> None:
    services = services.anew(settings=Settings.from_env({"AUTH": "off", "STOCK_FIRST": first}))
    stocked(apple=3, bread=9, cheese=0)
    order_id = partial_order(
        services, ("apple", 2, 100), ("cheese", 1, 500), ("bread", 1, 10), ("apple", 3, 200)
    )
    finish(services, order_id)
    order = books.order(order_id)
    assert (order["status"], order["stock"]["status"]) == ("confirmed", "decremented")
    (cut,) = order["cancellations"]
    assert (cut["reason"], cut["products"], cut["amount"]) == (
        "out_of_stock",
        [{"line": 2, "quantity": 1}, {"line": 4, "quantity": 2}],
        900,
    )
    assert order["stock"]["shortages"] == [
        {"productId": "apple", "requested": 5, "available": 3},
        {"productId": "cheese", "requested": 1, "available": 0},
    ]
    assert order["payment"]["capturedAmount"] == 1310 - 900 == books.payment(order_id)["captured"]  # type: ignore[index]
    assert books.levels() == {"apple": 0, "bread": 8, "cheese": 0}
    assert [event["type"] for event in order["events"] if event["type"][:5] in ("stock", "cance")] == [
        "cancellation.created", "stock.decremented",
    ]  # fmt: skip
    change_status(services.orders, order_id, "cancelled", actor="user")
    finish(services, order_id)
    assert books.levels() == {"apple": 3, "bread": 9, "cheese": 0}


@pytest.mark.parametrize("first", ["true", "false"])
def test_an_order_of_which_nothing_is_left_is_cancelled(
    first: str, services: Services, stocked: SetStock, finish: Finish, books: Books
) -> None:
    services = services.anew(settings=Settings.from_env({"AUTH": "off", "STOCK_FIRST": first}))
    stocked(apple=0)
    order_id = partial_order(services, ("apple", 2, 100))
    finish(services, order_id)
    (ended,) = books.check()
    assert ended["cancellation"]["reason"] == "out_of_stock"
    assert (ended["stock"]["status"], ended["payment"]["status"]) == ("insufficient", "voided")
