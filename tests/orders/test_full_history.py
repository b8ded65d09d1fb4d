"""An order is driven to the bound of its log, and is ended properly all the same."""

from __future__ import annotations

import itertools
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import HistoryFull, TooManyRefunds, TooManyRetries
from app.feed.service import catch_up
from app.orders import steps
from app.orders.bounds import LIMITS, MOST_EVENTS, MOST_REFUND_LINES, MOST_REFUNDS, MOST_RETRIES
from app.orders.log import first_bad_sequence
from app.orders.model import refundable
from app.orders.processing import perform
from app.orders.service import change_status, delete_order
from app.orders.sweeping import purge_deleted_orders
from app.payments.align import LEFT, align
from app.payments.model import Outcome, Repayment
from app.payments.sandbox.provider import SandboxProvider
from app.payments.steps import charge
from app.reconciliation import run as reconciling
from app.refunds.service import failed_refunds, request_refund, retry_refund
from tests.support.announcing import announce
from tests.support.doubles import with_parts
from tests.support.reconciled import differences, reconciled
from tests.support.recovered import NEVER, recovered_services

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.payments.model import Outcomes
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place, SetStock

TOTAL = 100_000
APPLES: list[Any] = [{"productId": "apple", "quantity": 1, "restock": True}]


@pytest.fixture
def recovered(services: Services, database: OrderDatabase) -> Services:
    """The services once the provider works again."""
    return recovered_services(services, database)


@pytest.fixture
def confirmed(services: Services, place: Place, stocked: SetStock, finish: Finish) -> str:
    """The id of an order of three apples of which no refund succeeds."""
    stocked(apple=5)
    order_id = place(method=NEVER, total=TOTAL, apple=3)["id"]
    finish(services, order_id)
    return order_id


@pytest.fixture
def full(services: Services, confirmed: str) -> str:
    """The same with refunds asked for and retried until there is no room."""
    with pytest.raises(HistoryFull):
        ask_for_ever(services, confirmed)
    return confirmed


def ask(services: Services, order_id: str, amount: str = "1.00", **more: Any) -> str:
    draft: Any = {"amount": Decimal(amount), **more}
    return request_refund(services.orders, order_id, draft, actor="services", key=None, digest="").refund[
        "id"
    ]


def ask_for_ever(services: Services, order_id: str) -> None:
    for number in itertools.count():
        refund_id = ask(services, order_id, **({} if number else {"products": APPLES}))
        perform(services.orders, steps.REFUND, [order_id])
        with pytest.raises(TooManyRetries):
            retry_for_ever(services, order_id, refund_id)


def retry_for_ever(services: Services, order_id: str, refund_id: str) -> None:
    while True:
        retry_refund(services.orders, order_id, refund_id, actor="services")
        perform(services.orders, steps.REFUND, [order_id])


def outside(order: Order, name: str, amount: int) -> Repayment:
    """A refund that somebody makes at the provider."""
    return Repayment(charge(order), name, 1, amount)


def ship_and_delete(services: Services, order_id: str) -> None:
    """With all that was asked for refunded at last, by one refund in place of those that failed."""
    for status in ("shipped", "delivered"):
        change_status(services.orders, order_id, status, actor="services")
    amount = Decimal(sum(refund["amount"] for refund in failed_refunds(services.orders, order_id))) / 100
    request_refund(services.orders, order_id, {"amount": amount}, actor="services", key=None, digest="")
    perform(services.orders, steps.REFUND, [order_id])
    delete_order(services.orders, order_id, actor="services")


def cancel_and_delete(services: Services, order_id: str) -> None:
    change_status(services.orders, order_id, "cancelled", actor="services")
    delete_order(services.orders, order_id, actor="services")


def delete_at_once(services: Services, order_id: str) -> None:
    delete_order(services.orders, order_id, actor="services")


@pytest.mark.slow
def test_a_refund_is_retried_twenty_times_and_no_more(
    services: Services, confirmed: str, books: Books
) -> None:
    refund_id = ask(services, confirmed)
    perform(services.orders, steps.REFUND, [confirmed])
    with pytest.raises(TooManyRetries, match=f"retried {MOST_RETRIES} times"):
        retry_for_ever(services, confirmed, refund_id)
    order = books.order(confirmed)
    assert order["refunds"][0]["attempt"] == MOST_RETRIES + 1 == 21
    assert sum(event["type"] == "refund.retried" for event in order["events"]) == MOST_RETRIES


@pytest.mark.parametrize("end", [ship_and_delete, cancel_and_delete, delete_at_once])
def test_an_order_with_a_full_history_is_ended_properly(
    end: Callable[[Services, str], None],
    recovered: Services,
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
    announce(recovered.notifications, [full])
    assert catch_up(recovered.feed, lambda: False)
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
    assert purge_deleted_orders(recovered.orders) == 1
    assert books.orders() == []


def test_refunds_at_the_provider_stop_at_the_bound_but_for_the_last(
    full: str, recovered: Services, books: Books
) -> None:
    """The last refund also records the earlier ones."""
    order = books.order(full)
    list(recovered.payments.provider.refund([outside(order, "first", 100)]))
    assert align(recovered.payments, order) == LEFT
    assert books.order(full)["version"] == order["version"]
    list(recovered.payments.provider.refund([outside(order, "last", TOTAL - 100)]))
    assert align(recovered.payments, order) == "refunded outside"
    after = books.order(full)
    assert (after["payment"]["status"], refundable(after)) == ("refunded", 0)
    assert after["version"] == order["version"] + 3


def test_refunds_at_the_provider_are_each_noted_while_there_is_room(
    confirmed: str, recovered: Services, books: Books
) -> None:
    order = books.order(confirmed)
    list(recovered.payments.provider.refund([outside(order, "first", 100)]))
    assert align(recovered.payments, order) == "refunded outside"
    assert books.order(confirmed)["payment"]["refundedAmount"] == 100


def test_an_action_of_the_customer_is_recorded_once_for_any_number_of_events(
    services: Services, place: Place, books: Books
) -> None:
    acting = {"code": "3ds", "client_secret": "secret"}

    class Waiting(SandboxProvider):
        def authorize(self, charges: Any) -> Outcomes:
            yield {one.order_id: Outcome("requires_action", "r-1", **acting) for one in charges}

    sandbox: Any = services.payments.provider
    asking = with_parts(services, payments=Waiting(sandbox._books, services.clock))
    order_id = place()["id"]
    for _ in range(5):
        perform(asking.orders, steps.AUTHORIZE, [order_id])
    types = [event["type"] for event in books.order(order_id)["events"]]
    assert types == ["order.created", "payment.action_required"]


@pytest.mark.slow
def test_an_order_has_so_many_refunds_and_no_more_lines_in_them(
    services: Services, place: Place, finish: Finish
) -> None:
    order_id = place(total=TOTAL, apple=1_000_000)["id"]
    finish(services, order_id)
    for _ in range(MOST_REFUND_LINES // 200):
        ask(services, order_id, products=APPLES * 200)
    with pytest.raises(TooManyRefunds, match="2000 lines"):
        ask(services, order_id, products=APPLES)
    for _ in range(MOST_REFUNDS - MOST_REFUND_LINES // 200):
        ask(services, order_id)
    with pytest.raises(TooManyRefunds, match="100 refunds"):
        ask(services, order_id)
