"""An order is driven to the bound of its log, and is ended properly all the same."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import HistoryFull, TooManyRefunds, TooManyRetries
from app.feed.service import catch_up
from app.notifications.announce import announce
from app.orders import steps
from app.orders.bounds import LIMITS, MOST_EVENTS, MOST_REFUND_LINES, MOST_REFUNDS, MOST_RETRIES
from app.orders.log import first_bad_sequence
from app.orders.model import refundable
from app.orders.processing import perform
from app.orders.service import change_status, delete_order
from app.orders.sweeping import purge_deleted_orders
from app.payments.model import Outcome, Repayment
from app.payments.sandbox.provider import SandboxProvider
from app.payments.settle import LEFT, settle
from app.payments.steps import charge
from app.reconciliation import run as reconciling
from app.refunds.service import ask_refund, failed_refunds, retry_refund
from tests.real.reconciled import differences, reconciled
from tests.real.recovered import NEVER, recovered_shop

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.payments.model import Outcomes
    from app.shop import Shop
    from tests.real.books import Books
    from tests.real.conftest import Finish, Place, SetStock
    from tests.real.doubles import StoppedClock

TOTAL = 100_000
APPLES: list[Any] = [{"productId": "apple", "quantity": 1, "restock": True}]


@pytest.fixture
def recovered(shop: Shop, database: OrderDatabase) -> Shop:
    """The shop once the provider works again."""
    return recovered_shop(shop, database)


@pytest.fixture
def confirmed(shop: Shop, place: Place, stocked: SetStock, finish: Finish) -> str:
    """The id of an order of three apples of which no refund succeeds."""
    stocked(apple=5)
    order_id = place(method=NEVER, total=TOTAL, apple=3)["id"]
    finish(shop, order_id)
    return order_id


@pytest.fixture
def full(shop: Shop, confirmed: str) -> str:
    """The same with refunds asked for and retried until there is no room."""
    with pytest.raises(HistoryFull):
        ask_for_ever(shop, confirmed)
    return confirmed


def ask(shop: Shop, order_id: str, amount: str = "1.00", **more: Any) -> str:
    draft: Any = {"amount": Decimal(amount), **more}
    return ask_refund(shop, order_id, draft, actor="shop", key=None, digest="").refund["id"]


def ask_for_ever(shop: Shop, order_id: str) -> None:
    for number in itertools.count():
        refund_id = ask(shop, order_id, **({} if number else {"products": APPLES}))
        perform(shop, steps.REFUND, [order_id])
        with pytest.raises(TooManyRetries):
            retry_for_ever(shop, order_id, refund_id)


def retry_for_ever(shop: Shop, order_id: str, refund_id: str) -> None:
    while True:
        retry_refund(shop, order_id, refund_id, actor="shop")
        perform(shop, steps.REFUND, [order_id])


def outside(order: Order, name: str, amount: int) -> Repayment:
    """A refund that somebody makes at the provider."""
    return Repayment(charge(order), name, 1, amount)


def ship_and_delete(shop: Shop, order_id: str) -> None:
    """With all that was asked for refunded at last, by one refund in place of those that failed."""
    for status in ("shipped", "delivered"):
        change_status(shop, order_id, status, actor="shop")
    amount = Decimal(sum(refund["amount"] for refund in failed_refunds(shop, order_id))) / 100
    ask_refund(shop, order_id, {"amount": amount}, actor="shop", key=None, digest="")
    perform(shop, steps.REFUND, [order_id])
    delete_order(shop, order_id, actor="shop")


def cancel_and_delete(shop: Shop, order_id: str) -> None:
    change_status(shop, order_id, "cancelled", actor="shop")
    delete_order(shop, order_id, actor="shop")


def delete_at_once(shop: Shop, order_id: str) -> None:
    delete_order(shop, order_id, actor="shop")


@pytest.mark.slow
def test_a_refund_is_retried_twenty_times_and_no_more(shop: Shop, confirmed: str, books: Books) -> None:
    refund_id = ask(shop, confirmed)
    perform(shop, steps.REFUND, [confirmed])
    with pytest.raises(TooManyRetries, match=f"retried {MOST_RETRIES} times"):
        retry_for_ever(shop, confirmed, refund_id)
    order = books.order(confirmed)
    assert order["refunds"][0]["attempt"] == MOST_RETRIES + 1 == 21
    assert sum(event["type"] == "refund.retried" for event in order["events"]) == MOST_RETRIES


@pytest.mark.parametrize("end", [ship_and_delete, cancel_and_delete, delete_at_once])
def test_an_order_with_a_full_history_is_ended_properly(
    end: Callable[[Shop, str], None],
    recovered: Shop,
    full: str,
    finish: Finish,
    books: Books,
    clock: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refunded, restocked, announced, reconciled without a difference, and purged."""
    monkeypatch.setattr(reconciling, "GRACE", 0)
    assert 950 < books.order(full)["version"] <= LIMITS["refund"].events
    end(recovered, full)
    finish(recovered, full)
    announce(recovered, [full])
    assert catch_up(recovered, lambda: False)
    order = books.order(full)
    assert order["version"] == len(order["events"]) <= LIMITS["delete"].events < MOST_EVENTS
    assert first_bad_sequence(full, order["events"], order["version"]) is None
    assert "dueBy" not in books.document(full)
    if order["status"] == "cancelled":
        assert (order["payment"]["status"], books.levels()["apple"]) == ("refunded", 5)
    else:
        assert (order["status"], books.levels()["apple"]) == ("delivered", 2)
    clock.advance(timedelta(minutes=5))
    report = reconciled(recovered)
    assert differences(recovered, report) == []
    clock.advance(timedelta(days=recovered.settings.retention_days))
    assert purge_deleted_orders(recovered) == 1
    assert books.orders() == []


def test_refunds_at_the_provider_stop_at_the_bound_but_for_the_last(
    full: str, recovered: Shop, books: Books
) -> None:
    """What was given back in between is noted with the last."""
    order = books.order(full)
    list(recovered.payments.refund([outside(order, "first", 100)]))
    assert settle(recovered, order) == LEFT
    assert books.order(full)["version"] == order["version"]
    list(recovered.payments.refund([outside(order, "last", TOTAL - 100)]))
    assert settle(recovered, order) == "refunded outside"
    after = books.order(full)
    assert (after["payment"]["status"], refundable(after)) == ("refunded", 0)
    assert after["version"] == order["version"] + 3


def test_refunds_at_the_provider_are_each_noted_while_there_is_room(
    confirmed: str, recovered: Shop, books: Books
) -> None:
    order = books.order(confirmed)
    list(recovered.payments.refund([outside(order, "first", 100)]))
    assert settle(recovered, order) == "refunded outside"
    assert books.order(confirmed)["payment"]["refundedAmount"] == 100


def test_a_customer_who_has_to_act_is_told_so_once_however_often_the_provider_says_it(
    shop: Shop, place: Place, books: Books
) -> None:
    acting = {"code": "3ds", "client_secret": "secret"}

    class Waiting(SandboxProvider):
        def authorize(self, charges: Any) -> Outcomes:
            yield {one.order_id: Outcome("requires_action", "r-1", **acting) for one in charges}

    sandbox: Any = shop.payments
    asking = replace(shop, payments=Waiting(sandbox._books, shop.clock))
    order_id = place()["id"]
    for _ in range(5):
        perform(asking, steps.AUTHORIZE, [order_id])
    types = [event["type"] for event in books.order(order_id)["events"]]
    assert types == ["order.created", "payment.action_required"]


@pytest.mark.slow
def test_an_order_has_so_many_refunds_and_no_more_lines_in_them(
    shop: Shop, place: Place, finish: Finish
) -> None:
    order_id = place(total=TOTAL, apple=1_000_000)["id"]
    finish(shop, order_id)
    for _ in range(MOST_REFUND_LINES // 200):
        ask(shop, order_id, products=APPLES * 200)
    with pytest.raises(TooManyRefunds, match="2000 lines"):
        ask(shop, order_id, products=APPLES)
    for _ in range(MOST_REFUNDS - MOST_REFUND_LINES // 200):
        ask(shop, order_id)
    with pytest.raises(TooManyRefunds, match="100 refunds"):
        ask(shop, order_id)
