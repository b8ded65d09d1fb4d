"""The gauges show the state of the database, at a cost that does not grow with it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app import gauges
from app.mongo.database import connect
from app.orders.counts_store import OrderCount
from app.orders.counts_store import OrderCounts as Asked
from app.orders.service import delete_order
from app.orders.states import STATUS
from app.reconciliation.kinds import KINDS
from app.reconciliation.run import advance, begin
from app.services import services_over
from tests.support.doubles import with_parts
from tests.support.plans import START, Explained

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.config import Settings
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

NOW = START + timedelta(days=1)
QUESTIONS: dict[str, Callable[[Asked], object]] = {
    "oldest pending": Asked.oldest_pending,
    "oldest due": Asked.oldest_due,
    "overdue": lambda asked: asked.overdue(NOW),
    "deliveries waiting": Asked.waiting,
    "payment events waiting": Asked.payment_events,
    "last reconciliation": Asked.last_reconciliation,
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_answered_from_an_index(explained: Explained, question: str) -> None:
    for plan in explained.plans(lambda: QUESTIONS[question](Asked(explained.database))):
        assert plan.scales, plan
        assert plan.documents <= 1, plan


def test_orders_are_counted_without_being_read(explained: Explained) -> None:
    counted: dict[str, int] = {}
    plans = explained.plans(lambda: counted.update(Asked(explained.database).count_orders()))
    assert counted == {
        status: sum(1 for _ in explained.database.orders.find({"visible": True, "status": status}))
        for status in STATUS
    }
    assert all(plan.scales and plan.documents == 0 for plan in plans), plans


def test_orders_are_counted_once_a_minute_and_for_a_fiftieth_of_the_time_at_most(
    services: Services, clock: StoppedClock, place: Place
) -> None:
    first = place()
    place()
    delete_order(services.orders, place()["id"], actor="user")
    assert gauges.count_orders(services)
    assert not gauges.count_orders(services)
    count = services.counts.last_count()
    assert count is not None
    assert count.orders == {**dict.fromkeys(STATUS, 0), "pending": 2}
    delete_order(services.orders, first["id"], actor="user")
    clock.advance(timedelta(minutes=1))
    assert gauges.count_orders(services)
    assert services.counts.last_count() == OrderCount(
        {**count.orders, "pending": 1}, services.clock(), pytest.approx(0, abs=5)
    )
    services.counts.keep(count._replace(at=services.clock(), seconds=10))
    clock.advance(timedelta(seconds=499))
    assert not gauges.count_orders(services)
    clock.advance(timedelta(seconds=2))
    assert gauges.count_orders(services)


def test_the_gauges_show_waiting_work_and_its_age(
    services: Services, clock: StoppedClock, place: Place, database: OrderDatabase
) -> None:
    place()
    clock.advance(timedelta(minutes=1))
    state = gauges.Gauges(services).state()
    assert state["part_ready"][("database",)] == 1
    assert state["oldest_pending_order_seconds"] == {(): pytest.approx(60, abs=1)}
    assert state["oldest_overdue_step_seconds"] == {(): pytest.approx(45, abs=1)}
    assert state["steps_overdue"] == {(): 1}
    assert state["deliveries_waiting"] == {("mail",): 0, ("webhook",): 0}
    assert "orders" not in state
    assert "reconciliation_differences" not in state
    database.notifications.insert_one(
        {
            "_id": "a:1:mail", "orderId": "a", "sequence": 1, "type": "order.created", "channel": "mail",
            "at": clock(), "attempts": 0, "status": "pending", "dueBy": clock() + timedelta(hours=1),
        }
    )  # fmt: skip
    assert gauges.Gauges(services).state()["deliveries_waiting"] == {("mail",): 1, ("webhook",): 0}


def test_the_gauges_show_the_differences_of_the_last_reconciliation_by_kind(
    services: Services, clock: StoppedClock, place: Place, finish: Finish, database: OrderDatabase
) -> None:
    order = place()
    finish(services, order["id"])
    database.sandbox_payments.delete_one({"_id": order["id"]})
    clock.advance(timedelta(hours=1))
    report = begin(services.reconciliation)
    assert advance(services.reconciliation, report["id"], 60)
    state = gauges.Gauges(services).state()
    found = state["reconciliation_differences"]
    assert found.keys() == {(kind,) for kind in KINDS}
    assert (found["payment_missing",], found["payment_doubled",]) == (1, 0)
    assert state["reconciliation_ended_timestamp_seconds"] == {(): services.clock().timestamp()}


def test_the_gauges_are_read_once_in_a_few_seconds_for_any_number_of_requests(services: Services) -> None:
    asked: list[str] = []
    probes: dict[str, Any] = {"database": lambda: asked.append("database") or "unreachable"}
    watched = gauges.Gauges(with_parts(services, probes=probes))
    assert watched.state() is watched.state()
    assert asked == ["database"]


@pytest.mark.slow
def test_without_the_database_the_gauges_still_show_that_it_is_down(settings: Settings) -> None:
    away = connect("mongodb://127.0.0.1:1/orders?serverSelectionTimeoutMS=100")
    state = gauges.Gauges(services_over(away, settings)).state()
    assert state["part_ready"][("database",)] == 0
    assert "steps_overdue" not in state
    away.client.close()
