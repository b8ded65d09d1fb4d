"""The result of a released migration never changes, even if the service does."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, ObjectId, json_util

from app import schema
from app.config import Settings
from app.migrations import STEPS
from app.mongo import database as storage
from deploy.local.stack import ROOT
from migrations import NAMES
from tests.support.originals import original_order, run_migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

# The digest of the collections, indexes and validators after each step. A release adds its own.
SCHEMAS = {
    "m0001_collections": "4fa18a2578a3b3987da9a36f3cfec0d47db1d4ec19138f72ace2331d5210425e",
    "m0002_original_orders": "4fa18a2578a3b3987da9a36f3cfec0d47db1d4ec19138f72ace2331d5210425e",
    "m0003_edges": "7783eead465751a63205808cb276587ff1de526ca0123061d7ec484940f779d4",
}
# The digest of what the second step makes of the orders below: in currencies of no, two and three decimals.
ADOPTED = {
    "JPY": "04f6e95354c448b1a4fe4620689d49462909bdfa9b307a4425d12925d2ffffe6",
    "USD": "161743f8ed3297c7d67abd3cf54b1bfa67eed2873166547c543792169d321ba4",
    "KWD": "5caf9e2f6360d8d2f9130ac4cc4f3d423e354895ae6609e91a196eb07937098c",
}
# What a step may use: what is no part of the service.
STABLE = {*sys.stdlib_module_names, "bson", "pymongo", "migrations"}
HELPERS = ("__init__", "recorded_schema")
BORN = datetime(2023, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def database(mongo_uri: str) -> Iterator[Any]:
    """A database that no migration has seen."""
    opened = storage.connect(mongo_uri)
    yield opened
    opened.client.close()


def test_the_schema_after_each_released_migration_stays_as_it_was(database: Any) -> None:
    """In the order in which they were released, none left out."""
    assert list(SCHEMAS) == list(NAMES[: len(SCHEMAS)])
    outcomes = {}
    for name in SCHEMAS:
        step(name, database)
        outcomes[name] = digest(form_of(database))
    assert outcomes == SCHEMAS


@pytest.mark.parametrize("currency", ADOPTED)
def test_the_original_orders_are_adopted_as_they_always_were(database: Any, currency: str) -> None:
    """Of every kind, those that cannot be orders among them."""
    database["orders"].insert_many(originals())
    for name in ("m0001_collections", "m0002_original_orders"):
        step(name, database, DEFAULT_CURRENCY=currency)
    adopted = list(database["orders"].find().sort("_id"))
    rejected = list(database["legacy_rejects"].find({}, {"at": 0}).sort("_id"))
    assert (len(adopted), len(rejected)) == (6, 4)
    assert digest([adopted, rejected]) == ADOPTED[currency]


@pytest.mark.parametrize("name", [*NAMES, *HELPERS])
def test_a_migration_calls_nothing_that_may_change(name: str) -> None:
    """It may name the service's types, which are not there when it runs."""
    tree = ast.parse((ROOT / "migrations" / f"{name}.py").read_text())
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    imported = {
        module.partition(".")[0]
        for node in ast.walk(tree)
        if id(node) not in for_types
        for module in modules_of(node)
    }
    assert imported <= STABLE


def test_the_schema_of_today_is_applied_last_and_found_pending_when_it_changes(
    database: Any, mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a changed validator needs no migration of its own."""
    settings = Settings.from_env({"AUTH": "off", "MONGO_URI": mongo_uri})
    assert [done.name for done in run_migrations(database, settings)][-1] == STEPS[-1] == schema.version()
    declared = form_of(database)
    for name, indexes in schema.INDEXES.items():
        assert len(declared[name]["indexes"]) >= 1 + len(indexes)

    monkeypatch.setitem(schema.VALIDATORS, "stock", {"$jsonSchema": {"bsonType": "object"}})
    changed = schema.version()
    assert changed != STEPS[-1]
    monkeypatch.setattr("app.migrations.STEPS", (*NAMES, changed))
    assert [done.name for done in run_migrations(database, settings)] == [changed]
    assert form_of(database)["stock"]["options"]["validator"] == schema.VALIDATORS["stock"]
    # The release before finds nothing that it would have to wait for.
    monkeypatch.setattr("app.migrations.STEPS", STEPS)
    assert run_migrations(database, settings) == []


def test_every_process_gives_the_schema_the_same_version() -> None:
    ask = "from app import schema; print(schema.version())"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        said = subprocess.run(
            [sys.executable, "-c", ask], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == schema.version()


def step(name: str, database: Any, **settings: str) -> None:
    """Runs one migration, twice, since it may be run again."""
    for _ in range(2):
        upgrade = import_module(f"migrations.{name}").upgrade
        upgrade(database, Settings.from_env({"AUTH": "off", **settings}), lambda *_: None)


def form_of(database: Any) -> dict[str, Any]:
    """The options and the indexes of each collection."""
    return {
        found["name"]: {
            "options": found["options"],
            "indexes": sorted(database[found["name"]].list_indexes(), key=lambda index: str(index["name"])),
        }
        for found in sorted(database.list_collections(), key=lambda found: str(found["name"]))
    }


def digest(value: Any) -> str:
    return hashlib.sha256(json_util.dumps(value, sort_keys=True).encode()).hexdigest()


def originals() -> list[dict[str, Any]]:
    """Orders of the original service, with ids and times that never change."""
    lines = [{"productId": "tea", "quantity": 3.0}, {"productId": ObjectId(b"an id of old"), "quantity": 1}]
    kinds: list[dict[str, Any]] = [
        {},
        {"totalAmount": 19.995},
        {"totalAmount": Decimal128("0.1"), "userId": ObjectId(b"user-of-old.")},
        {"createdAt": None, "updatedAt": None},
        {"updatedAt": BORN - timedelta(days=1)},
        {"totalAmount": 10**10},
        {"totalAmount": float("nan"), "userId": ""},
        {"products": []},
        {"status": "lost", "createdAt": "yesterday"},
        {"products": [{"productId": "tea", "quantity": 1.5}]},
    ]
    return [
        original_order(
            number,
            **{"_id": ObjectId.from_datetime(BORN + timedelta(seconds=number)), "products": lines, **kind},
        )
        for number, kind in enumerate(kinds)
    ]


def modules_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []
