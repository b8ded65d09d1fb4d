"""`flask --app wsgi reconcile`: its output and its exit codes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from app.clock import to_text
from app.commands import register_commands
from app.errors import ProviderUnavailable
from app.orders import steps
from app.orders.processing import perform
from app.reconciliation import run as reconciling
from app.stock.service import set_levels
from tests.support.announcing import announce

if TYPE_CHECKING:
    from flask.testing import FlaskCliRunner

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.service_fixtures import Finish, Place


@pytest.fixture
def runner(services: Services, monkeypatch: pytest.MonkeyPatch) -> FlaskCliRunner:
    """Runs the command without a terminal, and without the delay before the re-check."""
    monkeypatch.setattr(reconciling, "GRACE", 0)
    app = Flask("commands")
    app.extensions["services"] = services
    register_commands(app)
    return app.test_cli_runner()


def test_records_in_order_make_it_exit_with_0(
    runner: FlaskCliRunner, services: Services, place: Place
) -> None:
    set_levels(services.stock, {"apple": 3})
    place()
    services.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
    result = runner.invoke(args=["reconcile"])
    assert (result.exit_code, result.stderr) == (0, "")
    (report,) = reconciling.list_reports(services.reconciliation, 10, None).items
    again = to_text(services.clock() + 4 * services.settings.step_deadline - timedelta(seconds=1))
    assert result.stdout.splitlines()[-3:] == [
        "checked: 1 orders, 1 products",
        f"orders changed a moment ago: 1, not judged; run again after {again}",
        "found: 0, of which repaired: 0",
    ]
    assert report["id"] in result.stdout
    assert (report["status"], report["scheduled"], report["repair"]) == ("finished", False, False)


def test_orders_not_checked_yet_are_counted_until_the_time_it_prints(
    runner: FlaskCliRunner, services: Services, place: Place, finish: Finish, database: OrderDatabase
) -> None:
    """After that time it checks them all, and fails on their differences."""
    ids = [place()["id"] for _ in range(3)]
    finish(services, *ids)
    announce(services.notifications, ids)
    database["sandbox_payments"].delete_one({"_id": ids[0]})
    services.clock.advance(timedelta(seconds=30))  # type: ignore[attr-defined]
    finish(services, place()["id"])
    services.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
    for scope, number in (("payments", 4), ("stock", 1), ("orders", 1)):
        result = runner.invoke(args=["reconcile", scope])
        assert result.exit_code == 0
        assert f"orders changed a moment ago: {number}, not judged; run again after " in result.stdout
    counted = {
        report["scopes"][0]: report
        for report in reconciling.list_reports(services.reconciliation, 10, None).items
    }
    assert {scope: report["unjudged"] for scope, report in counted.items()} == {
        "payments": 4,
        "stock": 1,
        "orders": 1,
    }
    result = runner.invoke(args=["reconcile", "payments"])
    (again,) = re.findall("run again after (.*)", result.stdout)
    services.clock.advance(datetime.fromisoformat(again) - services.clock())  # type: ignore[attr-defined]
    assert "changed a moment ago: 1," in runner.invoke(args=["reconcile", "payments"]).stdout
    services.clock.advance(timedelta(milliseconds=1))  # type: ignore[attr-defined]
    result = runner.invoke(args=["reconcile", "payments"])
    assert result.exit_code == 1
    assert "changed a moment ago" not in result.stdout
    assert "payment_missing" in result.stdout


def test_an_order_whose_step_waits_for_a_retry_is_not_checked_either(
    runner: FlaskCliRunner, services: Services, place: Place
) -> None:
    """No matter how long ago it changed, if its payments are compared."""
    order_id = place(method="sandbox_unavailable")["id"]
    services.clock.advance(timedelta(minutes=5))  # type: ignore[attr-defined]
    perform(services.orders, steps.AUTHORIZE, [order_id])
    for scopes in (["payments"], []):
        result = runner.invoke(args=["reconcile", *scopes])
        assert "orders changed a moment ago: 1, not judged" in result.stdout


def test_differences_are_listed_and_make_it_fail_until_all_are_gone(
    runner: FlaskCliRunner, services: Services, database: OrderDatabase, place: Place
) -> None:
    """Control characters are escaped."""
    set_levels(services.stock, {"a\x1b[2Jb": 3})
    database["stock"].update_one({}, {"$set": {"onHand": 4}})
    place()
    services.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
    database["orders"].update_one({}, {"$unset": {"dueBy": ""}})
    result = runner.invoke(args=["reconcile", "--repair"])
    assert result.exit_code == 1
    forgotten, level, *_ = result.stdout.splitlines()
    assert forgotten.startswith("forgotten")
    assert forgotten.endswith("repaired")
    assert level.startswith(r"level_differs  productId=a\x1b[2Jb")
    assert result.stdout.endswith("found: 2, of which repaired: 1\n")
    database["stock"].update_one({}, {"$set": {"onHand": 3}})
    assert runner.invoke(args=["reconcile"]).exit_code == 0


@pytest.mark.parametrize(
    ("since", "age"),
    [
        ("7d", timedelta(days=7)),
        ("90m", timedelta(minutes=90)),
        ("2024-10-01", datetime(2024, 10, 1, tzinfo=UTC)),
        ("2024-10-01T12:00:00+02:00", datetime(2024, 10, 1, 10, tzinfo=UTC)),
        ("0001-01-01", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_since_is_a_day_a_time_or_how_long_ago(
    runner: FlaskCliRunner, services: Services, since: str, age: datetime | timedelta
) -> None:
    assert runner.invoke(args=["reconcile", "orders", "--since", since]).exit_code == 0
    (report,) = reconciling.list_reports(services.reconciliation, 10, None).items
    expected = age if isinstance(age, datetime) else datetime.now(UTC) - age
    assert abs(report["since"] - expected) < timedelta(minutes=1)
    assert report["scopes"] == ["orders"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["everything"],
        ["orders", "stock"],
        ["--since", "yesterday"],
        ["--since", "2024-13-01"],
        ["--since", "-3d"],
        ["--since", "999999999d"],
        ["--since", ""],
        ["--fix"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_line_and_begins_nothing(
    runner: FlaskCliRunner, services: Services, arguments: list[str]
) -> None:
    result = runner.invoke(args=["reconcile", *arguments])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stdout == ""
    assert reconciling.list_reports(services.reconciliation, 10, None).items == []


@pytest.mark.parametrize(
    ("cut", "reason"),
    [(KeyboardInterrupt(), "It was interrupted."), (ProviderUnavailable("No answer."), "No answer.")],
)
def test_one_that_is_broken_off_leaves_a_report_that_says_so(
    runner: FlaskCliRunner, services: Services, monkeypatch: pytest.MonkeyPatch, cut: Any, reason: str
) -> None:
    def cut_off(*_: Any) -> None:
        raise cut

    monkeypatch.setattr(reconciling, "advance", cut_off)
    result = runner.invoke(args=["reconcile"])
    (report,) = reconciling.list_reports(services.reconciliation, 10, None).items
    assert result.exit_code == 3
    assert result.stderr == f"Error: {reason} Report {report['id']} says how far it came.\n"
    assert (report["status"], report["detail"]) == ("failed", reason)
