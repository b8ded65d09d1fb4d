"""`flask --app wsgi orders`, `stock` and `webhooks`: what the API answers, at a terminal and in files."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from app.commands import register_commands
from app.commands.finding import _cell
from app.feed.service import catch_up
from app.orders import public
from app.stock.service import get_level
from app.webhooks.service import add_endpoint
from deploy.local.stack import ROOT
from tests.support.announcing import announce
from tests.support.damage import damage

if TYPE_CHECKING:
    from click.testing import Result
    from flask.testing import FlaskCliRunner

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place, SetStock


@pytest.fixture
def runner(services: Services) -> FlaskCliRunner:
    """Runs a command as a terminal would."""
    app = Flask("commands")
    app.extensions["services"] = services
    register_commands(app)
    return app.test_cli_runner()


def printed(runner: FlaskCliRunner, *args: str, **options: Any) -> str:
    """What the command prints when all goes well."""
    result = runner.invoke(args=args, **options)
    assert (result.exit_code, result.stderr) == (0, ""), (result.stderr, result.exception)
    return result.stdout


def ids(text: str) -> list[str]:
    """The ids in the first column, below the header."""
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_a_list_has_the_orders_that_match_the_filters_of_the_api(
    runner: FlaskCliRunner, place: Place, finish: Finish, services: Services, clock: StoppedClock
) -> None:
    old = place(apple=1)
    clock.advance(timedelta(days=2))
    new = place(pear=1)
    clock.advance(timedelta(seconds=1))
    declined = place(method="sandbox_declined")
    finish(services, old["id"], new["id"], declined["id"])

    assert ids(printed(runner, "orders", "list")) == [declined["id"], new["id"], old["id"]]
    assert ids(printed(runner, "orders", "list", "--limit", "1")) == [declined["id"]]
    assert ids(printed(runner, "orders", "list", "--product-id", "pear")) == [new["id"]]
    assert ids(printed(runner, "orders", "list", "--created-to", "1d")) == [old["id"]]
    assert ids(printed(runner, "orders", "list", "--created-from", "1d", "--sort", "createdAt")) == [
        new["id"],
        declined["id"],
    ]
    several = printed(runner, "orders", "list", "--status", "confirmed", "--status", "cancelled")
    assert len(ids(several)) == 3
    row = printed(runner, "orders", "list", "--status", "cancelled").splitlines()[1].split()
    assert row[:2] == [declined["id"], declined["number"]]
    assert row[3:] == ["cancelled", "declined", "10.00", "USD", "user"]
    assert printed(runner, "orders", "list", "--user-id", "nobody") == ""


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (("list", "--status", "lost"), "--status must be one of"),
        (("list", "--created-from", "7"), "--created-from must be"),
        (("list", "--held", "perhaps"), "--held must be true or false"),
        (("list", "--number", "nonsense"), "--number"),
        (("list", "--limit", "0"), "--limit"),
        (("find", "x" * 300), "KEY must have 1 to 254 characters"),
        (("export", "--format", "xml"), "--format"),
        (("tail", "--type", "order.lost"), "unknown: order.lost"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line_that_names_it(
    runner: FlaskCliRunner, args: tuple[str, ...], fault: str
) -> None:
    result = runner.invoke(args=["orders", *args])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert fault in result.stderr


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (("promises", "--since", "30"), "30 is no length of time such as 30d or 12h."),
        (("reconcile", "--since", "7"), "7 is no day such as 2024-10-01 and no length of time such as 7d."),
    ],
)
def test_a_length_of_time_needs_a_unit(runner: FlaskCliRunner, args: tuple[str, ...], fault: str) -> None:
    result = runner.invoke(args=list(args))
    assert result.exit_code == 2
    assert fault in result.stderr


def test_an_order_is_found_by_any_of_its_keys(runner: FlaskCliRunner, place: Place) -> None:
    order = place(email="eve@example.org")
    place()
    for key in (order["id"], order["number"], order["number"].lower(), "EVE@example.org"):
        assert ids(printed(runner, "orders", "find", key)) == [order["id"]]
    assert printed(runner, "orders", "find", "nobody") == ""


def test_an_export_has_each_order_as_the_api_shows_it(
    runner: FlaskCliRunner, services: Services, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages, without a gap or a repetition; a file that only its owner can read."""
    monkeypatch.setattr("app.commands.finding._PAGE", 2)
    placed = [place(email="eve@example.org")["id"] for _ in range(5)]
    file = tmp_path / "orders.ndjson"

    assert printed(runner, "orders", "export", str(file)) == "5 orders written\n"

    orders = services.orders.store.load(placed)
    shown = {order["id"]: json.loads(public.order_text(order, for_shop=True)) for order in orders}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["id"] for line in lines] == sorted(placed, reverse=True)
    assert all(line == shown[line["id"]] for line in lines)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    by_update = printed(runner, "orders", "export", "--sort", "updatedAt")
    assert sorted(json.loads(line)["id"] for line in by_update.splitlines()) == sorted(placed)


def test_a_table_has_a_row_per_order_and_no_formulas(
    runner: FlaskCliRunner, services: Services, place: Place, finish: Finish
) -> None:
    order = place(apple=2, pear=1, email="eve@example.org")
    finish(services, order["id"])
    (row,) = csv.DictReader(io.StringIO(printed(runner, "orders", "export", "--format", "csv")))
    del row["createdAt"], row["updatedAt"]
    assert row == {
        "id": order["id"],
        "number": order["number"],
        "userId": "user",
        "reference": "",
        "email": "eve@example.org",
        "status": "confirmed",
        "paymentStatus": "captured",
        "stockStatus": "decremented",
        "currency": "USD",
        "totalAmount": "10.00",
        "capturedAmount": "10.00",
        "refundedAmount": "0.00",
        "tags": "",
        "products": "2 apple; 1 pear",
    }


def test_a_damaged_order_is_named_and_left_out(
    runner: FlaskCliRunner, database: OrderDatabase, place: Place
) -> None:
    bad, good = place()["id"], place()["id"]
    damage(database, bad, {"$set": {"payment": "gone"}})
    result = runner.invoke(args=["orders", "export"])
    assert result.exit_code == 1
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [good]
    assert f"{bad}  damaged, left out\n" in result.stderr


def test_a_file_that_cannot_be_written_is_an_error_in_one_line(
    runner: FlaskCliRunner, tmp_path: Path
) -> None:
    result = runner.invoke(args=["orders", "export", str(tmp_path / "missing" / "orders")])
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_the_latest_events_are_printed_in_order(
    runner: FlaskCliRunner, services: Services, place: Place, finish: Finish
) -> None:
    order = place()
    finish(services, order["id"])
    catch_up(services.feed, lambda: False)
    events = services.orders.store.load_with_logs([order["id"]])[0]["events"]

    def shown(*args: str) -> list[str]:
        return [
            line.split()[3] for line in printed(runner, "orders", "tail", "--no-follow", *args).splitlines()
        ]

    assert shown() == [event["type"] for event in events]
    assert shown("--last", "1") == [events[-1]["type"]]
    assert shown("--last", "0") == []
    assert shown("--type", "payment.*") == [e["type"] for e in events if e["type"].startswith("payment.")]


def test_events_are_printed_as_they_come_until_ctrl_c(
    runner: FlaskCliRunner, services: Services, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 2:
            raise KeyboardInterrupt
        place()
        catch_up(services.feed, lambda: False)

    monkeypatch.setattr("app.commands.finding.time", SimpleNamespace(sleep=pause))
    lines = printed(runner, "orders", "tail").splitlines()
    assert [line.split()[3] for line in lines] == ["order.created"] * 2
    assert pauses == [1.0] * 3


def test_why_says_what_an_order_waits_for(
    runner: FlaskCliRunner, services: Services, place: Place, finish: Finish
) -> None:
    order, waiting = place(), place(method="sandbox_unavailable")
    finish(services, order["id"])
    rows = dict(
        line.split(maxsplit=1) for line in printed(runner, "orders", "why", order["number"]).splitlines()
    )
    assert rows["state"] == "waiting"
    assert rows["order"] == order["id"]
    text = printed(runner, "orders", "why", waiting["id"])
    assert "order.cancelled at" in text
    assert "possible" in text
    assert runner.invoke(args=["orders", "why", "0" * 24]).exit_code == 1


def test_levels_are_shown_exported_and_loaded_again(
    runner: FlaskCliRunner,
    services: Services,
    stocked: SetStock,
    place: Place,
    finish: Finish,
    clock: StoppedClock,
) -> None:
    """What is exported is what can be loaded."""
    stocked(apple=10, pear=3)
    clock.advance(timedelta(seconds=1))
    finish(services, place(apple=2)["id"])
    table = printed(runner, "stock", "export")
    assert table == "productId,onHand\napple,8\npear,3\n"
    shown = printed(runner, "stock", "show", "apple")
    assert "on hand  8" in shown
    assert [line.split()[1:3] for line in shown.partition("movements\n")[2].splitlines()] == [
        ["-2", "decrement"],
        ["+10", "adjustment"],
    ]
    changed = table.replace("apple,8", "apple,5")
    assert printed(runner, "stock", "load", "-", input=changed) == "2 levels loaded\n"
    assert get_level(services.stock, "apple")["onHand"] == 5
    assert runner.invoke(args=["stock", "show", "plum"]).exit_code == 1


@pytest.fixture
def failed(services: Services, place: Place, finish: Finish, database: OrderDatabase) -> tuple[str, str]:
    """The ids of an endpoint and of a delivery to it that has failed."""
    endpoint = add_endpoint(services.webhooks, "https://example.com/hooks", ["order.created"])
    order = place()
    finish(services, order["id"])
    announce(services, [order["id"]])
    (delivery,) = database.webhook_deliveries.find()
    ended = {"$set": {"status": "failed", "endedAt": services.clock()}, "$unset": {"dueBy": ""}}
    database.webhook_deliveries.update_one({"_id": delivery["_id"]}, ended)
    return endpoint["id"], delivery["_id"]


def _replay(runner: FlaskCliRunner, *args: str) -> Result:
    return runner.invoke(args=["webhooks", "replay", *args])


def test_endpoints_and_their_deliveries_are_listed_and_replayed(
    runner: FlaskCliRunner, failed: tuple[str, str]
) -> None:
    endpoint, delivery = failed
    row = printed(runner, "webhooks", "list").splitlines()[1].split()
    assert row == [endpoint, "https://example.com/hooks", "enabled", "order.created", "0", "0", "1"]
    assert ids(printed(runner, "webhooks", "list", endpoint, "--status", "failed")) == [delivery]
    assert printed(runner, "webhooks", "list", endpoint, "--status", "delivered") == ""

    assert printed(runner, "webhooks", "replay", endpoint, "--failed") == f"{delivery}  pending\n"
    assert (
        printed(runner, "webhooks", "replay", endpoint, "--failed")
        == "No delivery of the endpoint has failed.\n"
    )
    assert printed(runner, "webhooks", "replay", endpoint, delivery) == f"{delivery}  pending\n"
    assert (
        _replay(runner, endpoint).exit_code == _replay(runner, endpoint, delivery, "--failed").exit_code == 2
    )
    assert "does not exist" in _replay(runner, endpoint, "0" * 32).stderr
    assert "does not exist" in _replay(runner, "0" * 24, "--failed").stderr


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=1+1", "'=1+1"),
        ("@sum", "'@sum"),
        ("-2", "'-2"),
        ("+49", "'+49"),
        ("a=b", "a=b"),
        (None, ""),
        (0, "0"),
    ],
)
def test_no_cell_of_a_table_is_a_formula(value: object, text: str) -> None:
    assert _cell(value) == text


def test_the_shell_completes_commands_and_options() -> None:
    """By the lines of the page about the command line."""

    def completed(line: str) -> list[str]:
        words = line.split(" ")
        answer = subprocess.run(
            [str(Path(sys.executable).parent / "flask")],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "AUTH": "off",
                "FLASK_APP": "wsgi",
                "_FLASK_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words) - 1),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return [line.partition(",")[2] for line in answer.stdout.splitlines()]

    assert completed("flask orders ex") == ["export"]
    assert completed("flask orders list --created-f") == ["--created-from"]


@pytest.mark.parametrize(("level", "shown"), [("info", ["careful"]), ("debug", ["quiet", "careful"])])
def test_no_line_of_information_mixes_with_a_report_at_a_terminal(level: str, shown: list[str]) -> None:
    ours, theirs = pty.openpty()
    code = "import wsgi, structlog as s; log = s.get_logger(); log.info('quiet'); log.warning('careful')"
    settings = {"AUTH": "off", "LOG_LEVEL": level, "FLASK_RUN_FROM_CLI": "true"}
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **settings},
        stderr=theirs,
        timeout=60,
        check=True,
    )
    os.close(theirs)
    with contextlib.suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:
        text = terminal.read(10_000).decode()
    assert [word for word in ("quiet", "careful") if word in text] == shown
