"""The last error of a step: stored as a code beside the log, and cleared by the next change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.errors import HistoryFull, OrderUnreadable
from app.orders import steps
from app.orders.processing import perform
from app.orders.step_errors import CODES, StepFault, code_of
from app.stock.store import AlreadyMoved
from tests.support.damage import damage

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Place


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AlreadyMoved("m"), "stock_mismatch"),
        (HistoryFull(1), "history_full"),
        (OrderUnreadable("o"), "order_damaged"),
        (KeyError("payment"), "order_damaged"),
        (RuntimeError("ann@example.org"), "internal_error"),
        (StepFault("m"), "internal_error"),
    ],
)
def test_an_exception_has_a_code_of_the_table(error: Exception, code: str) -> None:
    assert code_of(error) == code
    assert code in CODES


def test_a_failed_attempt_stores_its_code_and_time_and_the_next_change_clears_them(
    services: Services, clock: StoppedClock, place: Place, books: Books
) -> None:
    order_id = place(method="sandbox_timeout_once")["id"]
    perform(services.orders, steps.AUTHORIZE, [order_id])
    expected: dict[str, Any] = {"step": "payments.authorize", "code": "provider_unavailable", "at": clock()}
    assert books.document(order_id)["lastError"] == expected
    perform(services.orders, steps.AUTHORIZE, [order_id])
    assert "lastError" not in books.document(order_id)


def test_a_damaged_order_gets_the_code_of_its_failed_step(
    services: Services, place: Place, books: Books, database: OrderDatabase
) -> None:
    good, bad = place()["id"], place()["id"]
    damage(database, bad, {"$unset": {"payment": ""}})
    perform(services.orders, steps.AUTHORIZE, [good, bad])
    assert books.document(bad)["lastError"]["code"] == "order_damaged"
    assert "lastError" not in books.document(good)
