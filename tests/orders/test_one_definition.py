"""Two fields that are added to the definition of an order, and nowhere else, arrive everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from deploy.local.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.servers import MongoServer

# It runs a copy of the service.
pytestmark = pytest.mark.slow

BEGINNING = "ORDER: tuple[Field, ...] = (\n"
ADDED = """\
    Field("giftNote", Text(20), "What the card says.", given="optional", always=False, changes=True),
    Field("gateCode", Text(8), "The code of the gate.", given="optional", always=False, personal=True),
"""


@pytest.fixture(scope="module")
def seen(mongo_server: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The output of `tests/support/new_fields.py` in a copy of the service that has the fields."""
    copy, name = tmp_path_factory.mktemp("the service"), f"fields_{uuid.uuid4().hex}"
    for package in ("app", "migrations"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    definition = copy / "app/orders/fields.py"
    text = definition.read_text()
    assert text.count(BEGINNING) == 1
    definition.write_text(text.replace(BEGINNING, BEGINNING + ADDED))
    run = subprocess.run(
        [sys.executable, ROOT / "tests/support/new_fields.py"],
        cwd=copy,
        env={
            **os.environ,
            "PYTHONPATH": str(copy),
            "AUTH": "off",
            "MONGO_URI": mongo_server.uri(name),
            "REDIS_URL": "redis://127.0.0.1:1/0",
        },
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=True,
    )
    yield json.loads(run.stdout.splitlines()[-1])
    with MongoClient[dict[str, object]](mongo_server.uri("admin")) as client:
        client.drop_database(name)


def values(order: dict[str, Any]) -> tuple[Any, Any]:
    """Those of the two fields."""
    return order.get("giftNote"), order.get("gateCode")


def test_new_fields_are_described_in_requests_and_answers(seen: dict[str, Any]) -> None:
    """With their bounds where clients send them."""
    sent, shown = (seen["described"][name]["properties"] for name in ("OrderIn", "Order"))
    assert [sent[name]["maxLength"] for name in ("giftNote", "gateCode")] == [20, 8]
    assert sent["giftNote"]["description"] == shown["giftNote"]["description"] == "What the card says."
    assert [shown[name]["type"] for name in ("giftNote", "gateCode")] == ["string", "string"]


def test_new_fields_are_taken_within_their_bounds_only(seen: dict[str, Any]) -> None:
    """The problem names the field."""
    assert [status for status, _ in seen["refused"]] == [422, 422, 422]
    named = [[fault["pointer"] for fault in problem["errors"]] for _, problem in seen["refused"]]
    assert named == [["/giftNote"], ["/gateCode"], ["/giftNote"]]
    assert values(seen["placed"]) == ("For Eve", "4711")


def test_the_database_stores_new_fields_and_refuses_a_wrong_type(seen: dict[str, Any]) -> None:
    """The personal one beside the log, which has its digest only."""
    assert seen["stored"]["giftNote"] == seen["logged"]["giftNote"] == "For Eve"
    assert seen["stored"]["personal"].keys() == {"salt", "gateCode"}
    assert "gateCode" not in seen["logged"]
    assert seen["logged"]["personalDigest"] == seen["digest"]
    assert seen["wrong types"] == [False, False]


def test_new_fields_are_shown_wherever_an_order_is_read(seen: dict[str, Any]) -> None:
    """By itself, at a past version, in the list, in its log, in the feed of all events."""
    roads = ("order", "first version", "list", "first event", "feed")
    assert {road: values(seen["shown"][road]) for road in roads} == dict.fromkeys(roads, ("For Eve", "4711"))


def test_compare_and_set_writes_a_change_of_a_new_field_once(seen: dict[str, Any]) -> None:
    """A second change of the same version finds that it is too late."""
    assert seen["changed"] == [[True, "Happy birthday"], [False, "Happy birthday"]]


def test_the_command_line_prints_new_fields(seen: dict[str, Any]) -> None:
    """By their names."""
    printed = [line.split(maxsplit=1) for line in seen["printed"].splitlines()]
    assert ["giftNote", "Happy birthday"] in printed
    assert ["gateCode", "4711"] in printed


def test_a_reconciliation_finds_a_new_field_that_was_altered(seen: dict[str, Any]) -> None:
    """And finds nothing before."""
    kinds = ("document_differs", "personal_differs")
    assert not [kind for kind in kinds if kind in seen["found in order"]]
    assert [kind for kind in kinds if kind in seen["found altered"]] == [*kinds]
    assert "giftNote: Forged" in seen["found altered"]


def test_erasing_a_customer_erases_a_new_personal_field(seen: dict[str, Any]) -> None:
    """Wherever the order is read; its log still verifies."""
    assert "gateCode" in seen["erasure"]
    assert seen["stored erased"] == {}
    assert seen["verified erased"] == {"intact": True}
    assert {values(order)[1] for order in seen["shown erased"].values()} == {None}
    assert values(seen["shown erased"]["order"]) == ("Happy birthday", None)
    assert values(seen["shown erased"]["first version"]) == ("For Eve", None)
