"""Migrations on a real server: run once however often and by however many they are started, even killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.config import Settings
from app.migrations import STEPS, LeaseLost, applied, pending
from app.mongo import database as storage
from tests.support.originals import intact_orders, original_order, upgrade_names

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2]
# Migrates with a short lease, says where it is, and never gets any further.
STUCK = """
import sys, time
from contextlib import nullcontext
from app.config import Settings
from app.mongo.database import connect
from app.migrations import upgrade

def progress(done, total):
    print(done, flush=True)
    time.sleep(3600)

settings = Settings.from_env()
list(upgrade(connect(settings.mongo_uri), settings, lambda name: nullcontext(progress), lease=1.0))
"""


@pytest.fixture
def database(mongo_uri: str) -> Iterator[Any]:
    """A database that no migration has seen."""
    opened = storage.connect(mongo_uri)
    yield opened
    opened.client.close()


@pytest.fixture
def settings(mongo_uri: str) -> Settings:
    """The settings of a service on that database."""
    return Settings.from_env({"AUTH": "off", "MONGO_URI": mongo_uri})


def test_migrations_run_once_in_order(database: Any, settings: Settings) -> None:
    """A second run finds nothing to do."""
    assert pending(database) == list(STEPS)
    assert upgrade_names(database, settings) == list(STEPS)
    assert pending(database) == []
    assert upgrade_names(database, settings) == []
    assert [migration.name for migration in applied(database)] == list(STEPS)


@pytest.mark.slow
def test_processes_that_migrate_at_once_take_turns(database: Any, mongo_uri: str) -> None:
    """All succeed, and each migration is applied by one of them."""
    database["orders"].insert_many(original_order(number) for number in range(2_000))
    command = [str(Path(sys.executable).with_name("flask")), "--app", "wsgi", "db", "upgrade"]
    runs = [_start(command, mongo_uri) for _ in range(3)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    lines = re.findall(r"^(\S+) applied", "".join(outputs), re.MULTILINE)
    assert sorted(lines) == list(STEPS), outputs
    assert intact_orders(database) == 2_000


@pytest.mark.slow
def test_a_killed_migration_is_taken_up_where_it_ended(
    database: Any, settings: Settings, mongo_uri: str
) -> None:
    """The next run waits until the dead one's lease is over."""
    database["orders"].insert_many(original_order(number) for number in range(1_200))
    run = _start([sys.executable, "-c", STUCK], mongo_uri)
    assert run.stdout
    assert run.stdout.readline() == "500\n"
    run.kill()
    run.communicate()
    assert database["orders"].count_documents({"events": {"$exists": False}}) == 700
    waited = threading.Event()
    assert upgrade_names(database, settings, on_wait=waited.set) == list(STEPS[1:])
    assert waited.is_set()
    assert intact_orders(database) == 1_200


def test_a_slow_migration_keeps_its_lease(database: Any, settings: Settings) -> None:
    """The one that waits does so for longer than a lease, and then has nothing to do."""
    database["orders"].insert_one(original_order(1))
    may_go_on, waiting, results = threading.Event(), threading.Event(), {}
    first = threading.Thread(
        target=lambda: results.update(
            first=upgrade_names(database, settings, lambda *_: may_go_on.wait(30) and None, lease=0.4)
        )
    )
    first.start()
    _until(lambda: database["migrations"].find_one({"_id": STEPS[0]}))
    second = threading.Thread(
        target=lambda: results.update(
            second=upgrade_names(database, settings, on_wait=waiting.set, lease=0.4)
        )
    )
    second.start()
    assert waiting.wait(10)
    for _ in range(6):
        lease = database["migrations"].find_one({"_id": "lease"})
        _until(
            lambda lease=lease: database["migrations"].find_one({"_id": "lease"})["until"] > lease["until"]
        )
    assert results == {}
    may_go_on.set()
    first.join()
    second.join()
    assert results == {"first": list(STEPS), "second": []}


def test_a_migration_that_lost_its_lease_stops(database: Any, settings: Settings) -> None:
    """It neither goes on nor is recorded."""
    database["orders"].insert_many(original_order(number) for number in range(600))
    theirs = {"_id": "lease", "holder": "another", "until": datetime(2100, 1, 1, tzinfo=UTC)}

    def lose(done: int, total: int) -> None:
        database["migrations"].replace_one({"_id": "lease"}, theirs)
        over = time.monotonic() + 0.5
        _until(lambda: time.monotonic() > over)

    with pytest.raises(LeaseLost):
        upgrade_names(database, settings, lose, lease=0.4)
    assert pending(database) == list(STEPS[1:])
    assert database["migrations"].find_one({"_id": "lease"}) == theirs


def _start(command: list[str], mongo_uri: str) -> subprocess.Popen[str]:
    env = {**os.environ, "AUTH": "off", "MONGO_URI": mongo_uri}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
