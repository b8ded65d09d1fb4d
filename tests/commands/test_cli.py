"""The commands of `flask --app wsgi`, on a real database: what they do, and how they refuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from flask import Flask

from app import schema
from app.commands import register_commands
from app.config import Settings
from app.mongo import database as storage
from app.orders.model import Change, Personal, advance, create
from app.services import services_over
from app.stock import load as loading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result
    from flask.testing import FlaskCliRunner

    from app.orders.model import Order
    from app.services import Services

NOBODY = "mongodb://127.0.0.1:1/orders"


@pytest.fixture
def database(mongo_uri: str) -> Iterator[storage.Database[Any]]:
    """The database that the commands work on, migrated."""
    opened = storage.connect(mongo_uri)
    schema.apply(opened)
    yield opened
    opened.client.close()


@pytest.fixture
def services(database: storage.Database[Any], mongo_uri: str) -> Services:
    """The service behind the commands."""
    return services_over(database, Settings.from_env({"AUTH": "off", "MONGO_URI": mongo_uri}))


@pytest.fixture
def runner(services: Services) -> FlaskCliRunner:
    """Runs a command as a terminal would, with nobody watching."""
    return _runner(services)


def test_a_file_of_stock_sets_levels_and_writes_the_ledger(
    runner: FlaskCliRunner, database: storage.Database[Any], tmp_path: Path
) -> None:
    """A second load of the same file changes nothing."""
    file = _file(tmp_path, '\ufeffproductId,onHand\r\napple,10\r\n\r\n"pear, green",0\r\n')
    for _ in range(2):
        result = runner.invoke(args=["stock", "load", file])
        assert (result.exit_code, result.stdout, result.stderr) == (0, "2 levels loaded\n", "")
    assert _levels(database) == {"apple": 10, "pear, green": 0}
    assert [row["quantity"] for row in database["stock_movements"].find()] == [10]


def test_every_bad_line_of_a_file_is_named_and_nothing_is_loaded(
    runner: FlaskCliRunner, database: storage.Database[Any], tmp_path: Path
) -> None:
    """One line on stderr for each, with its number and the reason."""
    lines = [
        "productId,onHand",
        "apple,1",
        "pear,-1",
        "fig,2.5",
        "plum",
        ",3",
        "apple,4",
        "kiwi,9999999999",
        "a\x1b,1",
    ]
    result = runner.invoke(args=["stock", "load", _file(tmp_path, "\n".join(lines))])
    assert result.exit_code == 1
    assert result.stdout == ""
    faults = [line.partition(": line ")[2] for line in result.stderr.splitlines()]
    assert faults == [
        "3: onHand is not a whole number from 0 to 1000000000",
        "4: onHand is not a whole number from 0 to 1000000000",
        "5: has 1 columns, not 2",
        "6: productId is not a text of 1 to 128 characters",
        "7: apple stands on line 2 already",
        "8: onHand is not a whole number from 0 to 1000000000",
        "9: productId has control characters or is not UTF-8",
        "",
    ]
    assert result.stderr.endswith("7 bad lines, nothing loaded\n")
    assert _levels(database) == {}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "line 1: the header is not productId,onHand"),
        (b"apple,1\n", "line 1: the header is not productId,onHand"),
        (b"productId,onHand\n\xff\xfe,1\n", "line 2: productId has control characters or is not UTF-8"),
        (b'productId,onHand\n"apple,1\n', "unexpected end of data"),
    ],
    ids=["empty", "no header", "not UTF-8", "open quote"],
)
def test_a_file_that_is_no_list_of_stock_is_refused(
    runner: FlaskCliRunner, tmp_path: Path, content: bytes, fault: str
) -> None:
    """No traceback, whatever is in it."""
    file = tmp_path / "stock.csv"
    file.write_bytes(content)
    result = runner.invoke(args=["stock", "load", str(file)])
    assert result.exit_code == 1
    assert fault in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_a_large_file_is_loaded_wholly_even_after_being_cut_off(
    runner: FlaskCliRunner,
    services: Services,
    database: storage.Database[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest of a killed load is applied first, and the ledger always sums to the levels."""
    monkeypatch.setattr(loading, "PART", 100)
    with pytest.raises(KeyboardInterrupt):
        loading.load_levels(services.stock, {f"old-{n}": n for n in range(1_000)}, _cut_off)
    assert 0 < len(_levels(database)) < 1_000
    file = _file(tmp_path, "productId,onHand\n" + "".join(f"new-{n},{n}\n" for n in range(1_000)))
    result = runner.invoke(args=["stock", "load", file])
    assert (result.exit_code, result.stderr) == (0, "")
    levels = _levels(database)
    assert levels == {f"{age}-{n}": n for age in ("old", "new") for n in range(1_000)}
    sums = database["stock_movements"].aggregate(
        [{"$group": {"_id": "$productId", "sum": {"$sum": "$quantity"}}}]
    )
    assert {row["_id"]: row["sum"] for row in sums} == {
        name: level for name, level in levels.items() if level
    }
    assert database["stock_loads"].count_documents({}) == 0


def test_an_order_is_shown_with_its_history(runner: FlaskCliRunner, services: Services) -> None:
    """Amounts in major units, the customer's data, what is owed, every event."""
    order = _placed(services)
    result = runner.invoke(args=["orders", "show", order["id"].upper()])
    assert (result.exit_code, result.stderr) == (0, "")
    for line in (
        r"user               eve\x1b[2J",
        "status             pending",
        "total              12.50 USD",
        "email              eve@example.org",
        "owes               stock.decrement, notifications.announce (attempts so far: 0)",
        "  2  pear  at 6.25",
        "history, its hashes intact",
        "  1  2024-10-04T10:00:00.000Z  order.created       client",
        "  2  2024-10-04T10:00:01.000Z  payment.authorized  system  reference=r-1",
    ):
        assert line in result.stdout.splitlines()


def test_a_history_that_was_tampered_with_is_shown_as_such(
    runner: FlaskCliRunner, services: Services, database: storage.Database[Any]
) -> None:
    """It names the first bad event and fails."""
    order = _placed(services)
    database["orders"].update_one({}, {"$set": {"events.1.data.reference": "r-2"}})
    result = runner.invoke(args=["orders", "show", order["id"]])
    assert result.exit_code == 1
    assert "history, NOT INTACT from event 2 on" in result.stdout.splitlines()


def test_redriving_makes_every_owed_step_due_at_once(
    runner: FlaskCliRunner, services: Services, database: storage.Database[Any]
) -> None:
    """The sweep finds it, with its failed attempts forgotten."""
    order = _placed(services)
    services.orders.due_work.postpone({order["id"]: services.clock() + timedelta(hours=1)})
    assert services.orders.due_work.overdue(services.clock(), 10) == []
    result = runner.invoke(args=["orders", "redrive", order["id"]])
    assert (result.exit_code, result.stdout) == (0, "due again: stock.decrement, notifications.announce\n")
    assert [found["id"] for found in services.orders.due_work.overdue(services.clock(), 10)] == [order["id"]]
    assert database["orders"].find_one({}, {"attempts": 1})["attempts"] == 0  # type: ignore[index]


@pytest.mark.parametrize("command", ["show", "redrive"])
@pytest.mark.parametrize("order_id", ["66ffbd20a1b2c3d4e5f60718", "no-id", "", "\x00"])
def test_an_unknown_order_is_one_line(runner: FlaskCliRunner, command: str, order_id: str) -> None:
    """On stderr, with a non-zero exit."""
    _refused(runner.invoke(args=["orders", command, order_id]), "does not exist")


@pytest.mark.parametrize(
    "command",
    [
        ["stock", "load"],
        ["orders", "show"],
        ["db", "sideways"],
        ["orders", "show", "1", "2"],
        ["db", "upgrade", "-x"],
        ["erase-customer"],
    ],
    ids=" ".join,
)
def test_a_misspelt_command_is_one_line(runner: FlaskCliRunner, command: list[str]) -> None:
    """It points to --help."""
    _refused(runner.invoke(args=command), "Try --help.")


def test_a_missing_file_is_one_line(runner: FlaskCliRunner, tmp_path: Path) -> None:
    """It names the file."""
    missing = str(tmp_path / "missing.csv")
    _refused(runner.invoke(args=["stock", "load", missing]), f"{missing}: No such file or directory")
    _refused(runner.invoke(args=["stock", "load", str(tmp_path)]), f"{tmp_path}: Is a directory")


@pytest.mark.slow
def test_a_database_that_is_down_is_one_line(tmp_path: Path) -> None:
    """This holds for every command."""
    settings = Settings.from_env({"AUTH": "off", "MONGO_URI": NOBODY})
    file = _file(tmp_path, "productId,onHand\napple,10\n")
    with storage.connect(NOBODY).client as client:
        runner = _runner(services_over(client["orders"], settings))
        for command in (["db", "upgrade"], ["stock", "load", file], ["orders", "show", str(ObjectId())]):
            _refused(runner.invoke(args=command), "The database cannot be reached.")


def test_the_state_of_the_migrations_is_listed(runner: FlaskCliRunner) -> None:
    """It fails while any is pending."""
    before = runner.invoke(args=["db", "status"])
    assert before.exit_code == 1
    assert before.stdout.splitlines()[0].split() == ["m0001_collections", "pending"]
    upgraded = runner.invoke(args=["db", "upgrade"])
    assert (upgraded.exit_code, upgraded.stderr) == (0, "")
    assert upgraded.stdout.endswith("The database is up to date.\n")
    after = runner.invoke(args=["db", "status"])
    assert after.exit_code == 0
    assert "pending" not in after.stdout
    assert runner.invoke(args=["db", "upgrade"]).stdout == "The database is up to date.\n"


def _runner(services: Services) -> FlaskCliRunner:
    app = Flask("commands")
    app.extensions["services"] = services
    register_commands(app)
    return app.test_cli_runner()


def _refused(result: Result, reason: str) -> None:
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert reason in result.stderr


def _file(directory: Path, content: str) -> str:
    file = directory / "stock.csv"
    file.write_bytes(content.encode())
    return str(file)


def _levels(database: storage.Database[Any]) -> dict[str, int]:
    return {level["_id"]: level["onHand"] for level in database["stock"].find()}


def _cut_off(done: int, total: int) -> None:
    if done > total / 3:
        raise KeyboardInterrupt


def _placed(services: Services) -> Order:
    at = datetime(2024, 10, 4, 10, tzinfo=UTC)
    data = {
        "userId": "eve\x1b[2J",
        "products": [{"productId": "pear", "quantity": 2, "unitPrice": 625}],
        "totalAmount": 1250,
        "currency": "USD",
    }
    order = create(str(ObjectId()), at, "client", data, Personal(salt="s", email="eve@example.org"))
    services.orders.store.add(order, at, None)
    authorized = Change("payment.authorized", {"reference": "r-1"})
    after = advance(order, at + timedelta(seconds=1), "system", [authorized])
    assert services.orders.store.append(order, after, at + timedelta(hours=1))
    return after
