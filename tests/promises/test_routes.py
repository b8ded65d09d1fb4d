"""The figures over HTTP, and the command that prints them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from app.commands import register_commands
from app.orders.service import delete_order
from app.promises import service
from tests.support.announcing import announce
from tests.support.tokens import SETTINGS, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient, FlaskCliRunner

    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place


@pytest.fixture
def runner(services: Services) -> FlaskCliRunner:
    """Runs a command as a terminal would."""
    app = Flask("commands")
    app.extensions["services"] = services
    register_commands(app)
    return app.test_cli_runner()


def test_an_order_counts_as_soon_as_it_is_accepted(
    client: FlaskClient, post_order: Callable[..., Any]
) -> None:
    post_order()
    answer = client.get("/promises")
    shown = answer.get_json()
    assert (answer.status_code, shown["accepted"], shown["lost"], shown["doubled"]) == (200, 1, 0, 0)
    assert shown["expired"] == {"hold": 0, "customer": 0, "authorize": 0, "decrement": 0, "capture": 0}
    assert list(shown["webhooks"]["taken"]) == [str(attempt) for attempt in range(1, 11)]


@pytest.mark.parametrize(
    ("since", "days"), [("", 30), ("?since=30d", 30), ("?since=48h", 2), ("?since=60", 0)]
)
def test_the_period_is_shown(client: FlaskClient, since: str, days: int) -> None:
    shown = client.get(f"/promises{since}").get_json()
    begins, ends = (datetime.fromisoformat(shown[name]) for name in ("since", "until"))
    assert (ends - begins) // timedelta(days=1) == days


@pytest.mark.parametrize(
    ("query", "pointer", "detail"),
    [
        ("since=soon", "/since", "must be a length of time such as 30d, 12h or 15m"),
        ("since=", "/since", "must be a length of time such as 30d, 12h or 15m"),
        ("since=0d", "/since", "must be above zero"),
        ("since=-1d", "/since", "must be a length of time such as 30d, 12h or 15m"),
        ("since=%D9%A3d", "/since", "must be a length of time such as 30d, 12h or 15m"),
        ("since=999999999d", "/since", "must be at most 3650d"),
        ("since=1d&since=2d", "/since", "must be given only once"),
        ("until=1d", "/until", "is not a known field"),
    ],
)
def test_a_bad_period_is_refused(client: FlaskClient, query: str, pointer: str, detail: str) -> None:
    answer = client.get(f"/promises?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_input")
    (error,) = answer.get_json()["errors"]
    assert error["pointer"] == pointer
    assert pointer == "/until" or error["detail"] == detail


def test_a_period_with_too_many_orders_is_refused_with_the_way_out(
    client: FlaskClient, post_order: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_ORDERS", 1)
    post_order()
    post_order()
    answer = client.get("/promises?since=1d")
    assert answer.status_code == 422
    assert answer.get_json()["errors"] == [
        {
            "pointer": "/since",
            "detail": "this time has more than 1 orders or differences; ask for a shorter one, or run "
            "`flask --app wsgi promises`, which has no such limit",
        }
    ]


def test_only_the_scope_of_reconciliations_sees_it(
    shared_app: Callable[..., Flask], api_database: Any
) -> None:
    client = shared_app(**SETTINGS).test_client()
    for scope, status in {"reconciliations:read": 200, "orders:admin": 403, "orders:read": 403}.items():
        assert client.get("/promises", headers=bearer(token(scope=scope))).status_code == status
    assert client.get("/promises").status_code == 401


def test_the_command_prints_all_figures(
    runner: FlaskCliRunner,
    services: Services,
    place: Place,
    finish: Finish,
    books: Books,
    clock: StoppedClock,
) -> None:
    for method in ("sandbox_ok", "sandbox_ok", "sandbox_declined"):
        finish(services, place(method=method)["id"])
    deleted = place()["id"]
    finish(services, deleted)
    delete_order(services.orders, deleted, actor="user")
    finish(services, deleted)
    announce(services.notifications, [order["id"] for order in books.orders()])
    clock.advance(timedelta(minutes=1))
    result = runner.invoke(args=["promises", "--since", "1h"])
    assert result.exit_code == 0, result.output
    lines = dict(line.split("  ", 1) for line in result.output.splitlines())
    assert {name: text.strip() for name, text in lines.items() if name != "orders"} == {
        "accepted": "4",
        "lost": "0",
        "doubled": "0",
        "unreadable": "0",
        "confirmed": "3, 50% within 0 ms, 99% within 0 ms",
        "expired": "hold 0, customer 0, authorize 0, decrement 0, capture 0",
        "refunds": "within 1m 1, within 10m 0, within 1h 0, within 1d 0, later 0, failed 0, pending 0",
        "webhooks": "taken at the first attempt 0, by the third 0, by the last 0; failed 0, pending 0",
        "reconciliations": "0 finished, 0 failed",
        "longest gap": lines["longest gap"].strip(),
    }
    assert lines["longest gap"].strip().startswith("0 ms after ")


def test_the_page_names_the_limits_of_a_request() -> None:
    page = Path("docs/promises.md").read_text()
    assert f"more than {service.MOST_ORDERS:,}\norders" in page
    assert f"longer than {service.MOST_SECONDS:.0f} seconds" in page


@pytest.mark.parametrize("period", ["soon", "0", "", "999999999d\n"])
def test_the_command_refuses_a_bad_period(runner: FlaskCliRunner, period: str) -> None:
    result = runner.invoke(args=["promises", "--since", period])
    assert result.exit_code == 2
    assert "is no length of time such as 30d or 12h" in result.output


def test_the_command_takes_any_length_of_time(runner: FlaskCliRunner) -> None:
    assert runner.invoke(args=["promises", "--since", "999999999d"]).exit_code == 0
