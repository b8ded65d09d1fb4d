"""The documents are right about settings, commands, tables and files."""

from __future__ import annotations

import itertools
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from app.commands import register_commands
from app.config import TABLE
from app.console import OperatorCommand
from app.http import openapi
from app.http.access import SCOPES
from app.http.problems import PROBLEMS, TYPE
from app.observability.metrics import COUNTED, STATE
from app.orders.events import EVENTS
from app.orders.refunds import is_pending, to_restock
from app.orders.schemas import OrderIn, OrdersQuery
from app.orders.states import CANCELLATION_REASONS, PAYMENT, STATUS, STOCK, TRANSITIONS
from app.orders.steps import (
    ANNOUNCE,
    AUTHORIZE,
    CAPTURE,
    DECREMENT_FIRST,
    RESTOCK,
    RESTOCK_CANCELLED,
    RESTOCK_RETURNED,
    STEPS,
)
from app.payments.sandbox.provider import METHODS
from deploy.local.stack import OF_PROCESSES, ROOT, procfile
from tasks.schedule import EVERY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
TEXTS = {document: document.read_text() for document in DOCUMENTS}
README, CONTRACT = TEXTS[ROOT / "README.md"], TEXTS[ROOT / "docs/contract.md"]
SETTINGS = TEXTS[ROOT / "docs/settings.md"]
PROBLEMS_PAGE = TEXTS[ROOT / "docs/problems.md"]
ACCESS = TEXTS[ROOT / "docs/access.md"]
EVENTS_PAGE, ARCHITECTURE = TEXTS[ROOT / "docs/events.md"], TEXTS[ROOT / "docs/architecture.md"]
EVERYTHING = "\n".join(TEXTS.values())

# How the documents say which refunds make a step due.
REFUNDS_SHOWN = {is_pending: "; pending", to_restock: "; goods to restock"}
# And how the steps for which more than that counts.
MORE_SHOWN = {
    CAPTURE: "; no hold blocks it",
    RESTOCK_CANCELLED: "; cancelled pieces to restock",
    RESTOCK_RETURNED: "; returned pieces to restock",
    RESTOCK: "; no cancelled pieces to restock",
    DECREMENT_FIRST: "; stock comes first, and was not tried or fits anew",
    AUTHORIZE: "; stock that comes first is taken",
}

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table under a line that contains the heading, without their header."""
    lines = text.partition(heading)[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    end = next(number for number, line in enumerate([*lines, ""]) if number > start and line[:1] != "|")
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[start + 2 : end]]


def once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs by their names; fails where a name comes twice."""
    listed = list(pairs)
    names = [name for name, _ in listed]
    assert sorted(names) == sorted(set(names))
    return dict(listed)


def code(text: str) -> list[str]:
    """The texts between backticks, without blocks of code."""
    return re.findall(r"`([^`]+)`", prose(text))


def prose(text: str) -> str:
    """The text without its blocks of code."""
    return re.sub(r"(?ms)^```.*?^```", "", text)


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as code hosts make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(text))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> Iterator[tuple[str, str]]:
    """The path and the anchor of every link to this repository's own files."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


def test_every_setting_is_listed_as_it_is() -> None:
    """In the order of the one list of them; a default that is no value shows as none."""
    expected = [
        f"| `{name.upper()}` | {f'`{setting.default}`' if setting.default else ''} | {setting.doc} |"
        for name, setting in TABLE.items()
    ]
    assert [line for line in SETTINGS.splitlines() if line.startswith("| `")][: len(expected)] == expected


def test_every_variable_of_single_processes_is_listed() -> None:
    """Those that the Procfile and gunicorn's configuration read beside the settings, with their defaults."""
    server = (ROOT / "deploy/gunicorn.conf.py").read_text()
    read = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "Procfile").read_text()))
    read |= dict.fromkeys(re.findall(r"environ(?:\.get\(|\[)['\"](\w+)", server), "")
    read = {name: default for name, default in read.items() if name.lower() not in TABLE}
    listed = once(
        (code(name)[0], code(default)) for name, default, _ in table(SETTINGS, "belong to single processes")
    )
    assert listed.keys() == read.keys() == set(OF_PROCESSES)
    for name, default in read.items():
        assert not default or listed[name] == [default]
    for name, value in re.findall(r"environ\.get\(\"(\w+)\", \"([^\"]+)\"\)", server):
        assert listed[name] == [value]
    for name, value in re.findall(r"environ\.get\(\"(\w+)\"\) or (\d+)", server):
        assert listed[name] == [value]


def test_the_readme_lists_the_processes_as_they_are_run() -> None:
    """The Procfile has their options on top."""
    listed = once((process, code(command)[0]) for process, command, _ in table(README, "## Processes"))
    commands = procfile()
    assert listed.keys() == commands.keys()
    for process, command in listed.items():
        assert commands[process].startswith(command)


def test_every_target_of_make_that_is_named_exists() -> None:
    """And every target that explains itself is named in the README."""
    targets = set(re.findall(r"(?m)^([a-z]+):.*##", (ROOT / "Makefile").read_text())) - {"help"}
    named = set(re.findall(r"(?m)(?:`|^|\w=\d+ )make ([a-z]+)", EVERYTHING))
    assert named <= targets
    assert targets - {"dev"} <= named


def test_every_command_of_the_operator_that_is_named_exists() -> None:
    """And every command that there is is named on the page about them."""
    app = Flask("app")
    register_commands(app)
    alone = {name for name, command in app.cli.commands.items() if isinstance(command, OperatorCommand)}
    groups = {name: app.cli.commands[name] for name in ("db", "orders", "refunds", "stock", "webhooks")}
    there = {(name, command) for name, group in groups.items() for command in group.commands}  # type: ignore[attr-defined]
    there |= {(name, "") for name in alone}

    def named(text: str) -> set[tuple[str, str]]:
        found = re.findall(r"flask --app wsgi ([a-z-]+)(?: ([a-z]+))?", text)
        return {(name, command if name in groups else "") for name, command in found}

    assert named(EVERYTHING) <= there
    assert named(TEXTS[ROOT / "docs/command-line.md"]) == there


def test_nothing_that_cannot_be_undone_is_in_a_list_to_paste() -> None:
    """A list of the README may be pasted as it is."""
    assert "flask --app wsgi erase-customer" in prose(README)
    assert "erase-customer" not in "".join(re.findall(r"(?ms)^```sh$.*?^```", README))


def test_the_settings_and_metrics_named_for_operators_exist() -> None:
    """Every text in their pages that looks like a setting or a metric."""
    known = {name.upper() for name in TABLE} | set(re.findall(r"(?m)^\| `(\w+)` \|", SETTINGS))
    for name in ("operations", "scaling"):
        named = code(TEXTS[ROOT / f"docs/{name}.md"])
        assert {each for each in named if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", each)} <= known
    metrics = {
        each for row in table(TEXTS[ROOT / "docs/operations.md"], "## What to watch") for each in code(row[1])
    }
    assert {each for each in metrics if "_" in each} <= COUNTED.keys() | STATE.keys()


def test_every_alert_names_a_section_with_the_remedy() -> None:
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text().split("- alert: ")[1:]
    assert len(alerts) > 10
    for alert in alerts:
        (link,) = re.findall(r"[Ss]ee (docs/\w+\.md)#([\w-]+)", alert)
        assert link[1] in anchors((ROOT / link[0]).read_text()), link


@documents
def test_links_between_documents_resolve(document: Path) -> None:
    """To the file, and to the heading in it."""
    for path, anchor in links(TEXTS[document]):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text()), f"{path}#{anchor}"


@documents
def test_files_and_folders_that_are_named_exist(document: Path) -> None:
    """Where they are named with a folder of this repository in front, or are tests."""
    for name in code(TEXTS[document]):
        if re.match(r"(app|tasks|migrations|deploy|tests|benchmarks|requirements|docs)/", name):
            assert (ROOT / name).exists(), name
        elif re.fullmatch(r"test_\w+\.py", name):
            assert list((ROOT / "tests").rglob(name)), name


@documents
def test_no_document_outgrows_its_reader(document: Path) -> None:
    """The bound that holds for every file."""
    assert len(TEXTS[document].splitlines()) <= 300


def test_every_problem_is_listed() -> None:
    """With its status."""
    rows = table(PROBLEMS_PAGE, "`code` is stable")
    listed = once((code(kind)[0], int(status)) for status, kind, _ in rows)
    assert listed == {name: kind.status for name, kind in PROBLEMS.items()}
    assert f"`{TYPE}`" in PROBLEMS_PAGE


def test_every_scope_is_listed() -> None:
    """With what it allows."""
    assert once((code(scope)[0], allows) for scope, allows in table(ACCESS, "## Scopes")) == SCOPES


def test_the_contract_has_every_field_and_parameter() -> None:
    """Of what a client may send for a new order and a list."""
    fields = {name for row in table(CONTRACT, "### `POST /orders`") for name in code(row[0])}
    assert {name for name in fields if "[]" not in name} == set(OrderIn().fields)
    parameters = {name for row in table(CONTRACT, "### `GET /orders` → 200") for name in code(row[0])}
    assert parameters == set(OrdersQuery().fields)


def test_the_contract_has_the_changes_of_every_axis() -> None:
    """No move that the tables forbid, and every state that can be reached."""
    rows = dict(table(CONTRACT, "An order has three axes"))
    for heading, axis, states in (
        ("`status`", "order", STATUS),
        ("`payment.status`", "payment", PAYMENT),
        ("`stock.status`", "stock", STOCK),
    ):
        named = set()
        for road in re.findall(r"((?:`\w+` or )?`[^`]*→[^`]*`)", rows[heading]):
            first, *rest = [re.findall(r"\w+", part) for part in road.split("→")]
            beginnings = [state for state in first if state in states]
            for following in rest:
                for beginning in beginnings:
                    assert following[0] in TRANSITIONS[axis][beginning]
                named |= {*beginnings, following[0]}
                beginnings = following
        assert named == set(states)


def test_the_contract_has_the_reasons_and_methods() -> None:
    """The reasons of cancellations, and the payment methods of the sandbox."""
    assert all(f"`{reason}`" in CONTRACT for reason in CANCELLATION_REASONS)
    listed = once((code(method)[0], does) for method, does in table(CONTRACT, "## The sandbox"))
    assert listed.keys() == METHODS.keys()


def test_the_table_of_events_is_the_one_in_the_code() -> None:
    """Row by row, in the code's order: what each means, moves and carries, and since when it is public."""
    rows = []
    for kind, event in EVENTS.items():
        status = "`status`" if event.axis == "order" else f"`{event.axis}.status`"
        moves = f"{status} to `{event.value}`" if event.value else ""
        since = f"since {event.public:%Y-%m-%d}" if isinstance(event.public, datetime) else "yes"
        rows.append([f"`{kind}`", event.means, moves, event.carries, since if event.public else ""])
    assert table(EVENTS_PAGE, "| `hash` |") == rows


def test_the_diagram_of_the_states_has_every_move() -> None:
    """Of every axis, and no other move."""
    diagram = ARCHITECTURE.partition("flowchart LR")[2].partition("```")[0]
    labels = dict(re.findall(r"(\w+)\[(\w+)\]", diagram))
    charts = dict(re.findall(r"(?s)subgraph (\w+).*?\n(.*?)\n  end", diagram))
    assert charts.keys() == TRANSITIONS.keys()
    for axis, chart in charts.items():
        moves = set()
        for line in chart.splitlines():
            states = [re.findall(r"(\w+)(?:\[\w+\])?", part) for part in line.split("-->")]
            for beginnings, ends in itertools.pairwise(states):
                moves |= {(labels[one], labels[other]) for one in beginnings for other in ends}
        assert moves == {(one, other) for one, ends in TRANSITIONS[axis].items() for other in ends}


def test_the_table_of_events_and_steps_is_the_one_in_the_code() -> None:
    """Row by row, in the code's order."""
    *rows, last = table(ARCHITECTURE, "(`app/orders/steps.py`)")
    assert [(code(after), code(step), due) for after, step, due in rows] == [
        (
            [*step.after],
            [step.name],
            " / ".join(", ".join(axis) or "any" for axis in (step.status, step.payment, step.stock))
            + REFUNDS_SHOWN.get(step.refund, "")
            + MORE_SHOWN.get(step, ""),
        )
        for step in STEPS
        if step is not ANNOUNCE
    ]
    assert code(last[1]) == [ANNOUNCE.name]


def test_the_table_of_scheduled_tasks_is_the_one_in_the_code() -> None:
    """With how often each is started."""
    seconds = {"s": 1, "h": 3600}
    listed = []
    for name, every, _ in table(ARCHITECTURE, "(`tasks/schedule.py`)"):
        number, unit = every.split()
        listed.append((code(name)[0], int(number) * seconds[unit]))
    assert listed == [(name, interval.total_seconds()) for name, interval in EVERY.items()]


def test_every_advised_installation_is_from_a_lock_file() -> None:
    """The optional packages are installed from lock files that exist."""
    sources = [path.read_text() for path in (ROOT / "app").rglob("*.py")]
    advised = re.findall(r"pip install ([^`\n\"]*)", EVERYTHING + "\n".join(sources))
    assert len(advised) >= 5
    for advice in advised:
        lock = re.fullmatch(r"-r (requirements/\w+\.txt)", advice.strip())
        assert lock, advice
        assert (ROOT / lock[1]).exists(), advice
    assert "[otel]" not in EVERYTHING
    assert "[stripe]" not in EVERYTHING


def test_the_changes_begin_with_the_version_that_is_served() -> None:
    """The newest version comes first, with its date."""
    changes = TEXTS[ROOT / "CHANGELOG.md"]
    newest = re.search(r"(?m)^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", changes)
    assert newest
    assert newest[1] == openapi.VERSION
