"""Money that comes in for an order that is over is not ours: it goes back, once, or is left to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.payments.align import AGREED, LEFT, WAITING, align
from app.payments.model import Outcome
from tests.support.doubles import with_parts
from tests.support.outside import TOTAL, Outside, end

if TYPE_CHECKING:
    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Place


@pytest.mark.parametrize("closed", ["payment.declined", "payment.voided"])
@pytest.mark.parametrize(
    ("status", "captured", "outcome"),
    [("authorized", 0, "voided"), ("captured", TOTAL, f"gave back {TOTAL}")],
)
def test_a_payment_that_comes_in_after_the_order_is_over_is_undone_once(
    closed: str,
    status: str,
    captured: int,
    outcome: str,
    services: Services,
    place: Place,
    outside: Outside,
    books: Books,
    logged: list[Any],
) -> None:
    order = end(services, place(), closed)
    outside.make(order, status, captured=captured)
    assert align(services.payments, order) == outcome
    assert align(services.payments, order) == AGREED
    payment: Any = books.payment(order["id"])
    assert payment["captured"] == payment["refunded"]
    assert len(payment.get("refunds", ())) == (1 if captured else 0)
    assert [line["what"] for line in logged if line["event"] == "late payment undone"] == [outcome]
    books.check()


def test_the_rest_of_a_partly_refunded_late_payment_is_refunded(
    services: Services, place: Place, outside: Outside, books: Books
) -> None:
    order = end(services, place(), "payment.voided")
    outside.make(order, "captured", captured=TOTAL)
    outside.refund(order, 400)
    assert align(services.payments, order) == "gave back 600"
    books.check()


def test_a_late_payment_that_cannot_be_given_back_is_left_to_a_person(
    services: Services, place: Place, outside: Outside, logged: list[Any]
) -> None:
    order = end(services, place(method="sandbox_refund_fails_once"), "payment.voided")
    outside.make(order, "captured", captured=TOTAL)
    assert align(services.payments, order) == LEFT
    (line,) = [line for line in logged if line["log_level"] == "error"]
    assert (line["order_id"], line["code"]) == (order["id"], "refund_declined")


@pytest.mark.parametrize("other", [{"amount": 999}, {"currency": "EUR"}])
def test_a_payment_of_another_amount_or_currency_is_left_to_a_person(
    other: dict[str, Any], services: Services, place: Place, outside: Outside, books: Books
) -> None:
    order = end(services, place(), "payment.voided")
    outside.make(order, "captured", captured=TOTAL, **other)
    before = books.document(order["id"]), books.payment(order["id"])
    assert align(services.payments, order) == LEFT
    assert (books.document(order["id"]), books.payment(order["id"])) == before


def test_a_void_that_comes_too_late_gives_the_money_back(
    services: Services, place: Place, outside: Outside, books: Books
) -> None:
    """The money is taken between our look and our call."""
    order = end(services, place(), "payment.voided")
    outside.make(order, "authorized")
    inner = services.payments.provider

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def void(self, charges: Any) -> Any:
            outside.capture(order)
            return inner.void(charges)

    assert f"gave back {TOTAL}" in align(with_parts(services, payments=Slow()).payments, order)  # type: ignore[arg-type]
    books.check()


@pytest.mark.parametrize("status", ["captured", "authorized"])
def test_a_provider_that_does_not_answer_the_closing_is_asked_again_later(
    status: str, services: Services, place: Place, outside: Outside
) -> None:
    order = end(services, place(), "payment.voided")
    outside.make(order, status, captured=TOTAL if status == "captured" else 0)
    inner = services.payments.provider

    class Silent:
        accepts = staticmethod(inner.accepts)
        find = staticmethod(inner.find)

        def void(self, charges: Any) -> Any:
            yield {order["id"]: Outcome("try_again")}

        def refund(self, repayments: Any) -> Any:
            yield {repayment.refund_id: Outcome("try_again") for repayment in repayments}

    assert align(with_parts(services, payments=Silent()).payments, order) == WAITING  # type: ignore[arg-type]
