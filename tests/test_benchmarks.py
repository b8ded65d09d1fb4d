"""The benchmarks give every contender the same work, and their conclusions follow from the figures."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from app.orders.due_store import DueWork
from app.orders.store import Orders
from benchmarks import fairness, load, readme, targets
from benchmarks.contest import POSTS
from benchmarks.documents import seed
from benchmarks.figures import Figure
from benchmarks.plan import Plan
from benchmarks.progress import BULLMQ, SERVICE
from benchmarks.turns import Seen, take_turns
from benchmarks.whole import ACCEPTING, WHAT
from deploy.local.process import Failed
from deploy.local.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.mongo.database import OrderDatabase

PLAN = replace(Plan(), rounds=3)
URL = "http://127.0.0.1:1"
BODY = {"userId": "user-1", "products": [{"productId": "product-01", "quantity": 2}]}
NO_WRITES: dict[str, Any] = {kind: {"wmajority": 0, "wnum": {}} for kind in ("insert", "update", "delete")}


def printed(**changed: int) -> str:
    counts = {"requests": 10, "seconds": 2.0, "p50": 1.0, "p99": 2.0, "refused": 0, "failed": 0, "body": BODY}
    return f"Running 2s test\n{json.dumps(counts | changed)}\n"


def test_a_load_without_an_error_is_read():
    seen = load.read(URL, printed())

    assert (seen.rate, seen.requests, seen.body) == (5.0, 10, BODY)


@pytest.mark.parametrize("count", ["refused", "failed"])
def test_a_rival_that_answers_errors_is_refused(count: str):
    with pytest.raises(Failed, match=r"unfair.* has 3 requests"):
        load.read(URL, printed(**{count: 3}))


def test_a_rival_whose_jobs_fail_is_refused():
    assert fairness.errors(0, 0, failed_jobs=2) == "has 2 jobs failed"
    assert not fairness.errors(0, 0, failed_jobs=0)


@pytest.mark.parametrize("children", [{"web": 3}, {"fastify": 1}, {"fastify": 2, "bullmq-worker": 4}])
def test_another_number_of_processes_is_refused(children: dict[str, int]):
    assert "instead of 2" in fairness.other_processes(children, 2)


def test_the_relay_and_beat_have_one_process_each():
    assert not fairness.other_processes({"web": 2, "worker": 2, "relay": 0, "beat": 0}, 2)


def test_a_contender_that_did_not_warm_up_is_refused():
    assert fairness.not_warm(requests=4_999, least=5_000)
    assert not fairness.not_warm(requests=5_000, least=5_000)


def test_a_backlog_left_over_is_refused():
    assert "999 of its 1,000" in fairness.left_over(1_000, 999)
    assert not fairness.left_over(1_000, 1_000)


@pytest.mark.parametrize("kind", ["insert", "update", "delete"])
def test_a_weaker_write_concern_is_refused(kind: str):
    before = NO_WRITES | {kind: {"wmajority": 1, "wnum": {"1": 5}}}
    after = NO_WRITES | {kind: {"wmajority": 1, "wnum": {"1": 7}}}

    assert "2 writes" in fairness.weaker_writes(before, after)
    assert not fairness.weaker_writes(after, after)
    assert not fairness.weaker_writes(NO_WRITES, NO_WRITES | {kind: {"wmajority": 9, "wnum": {}}})


def test_an_order_answered_but_not_stored_is_refused():
    assert fairness.not_stored(requests=10, stored=9)
    assert not fairness.not_stored(requests=10, stored=12)


@pytest.mark.parametrize("stored", [None, BODY | {"products": []}, BODY | {"userId": "user-2"}])
def test_another_order_than_the_one_sent_is_refused(stored: dict[str, Any] | None):
    assert fairness.another_order(BODY, stored)


def test_an_order_stored_as_it_was_sent_is_accepted():
    assert not fairness.another_order(BODY, {**BODY, "status": "pending"})


def test_bodies_of_different_lengths_are_refused():
    def turn(body: dict[str, Any]) -> Iterator[Seen]:
        yield Seen("POST", {"per s": 1.0}, body)

    turns = {"service": lambda _: turn(BODY), "fastify": lambda _: turn({"userId": "u"})}
    with pytest.raises(Failed, match="bodies of different lengths"):
        list(take_turns(turns, PLAN))


def test_contenders_take_turns_and_change_their_order():
    order: list[str] = []

    def turn(name: str, number: int) -> Iterator[Seen]:
        order.append(name)
        yield Seen("POST", {"per s": float(number)})

    turns = {name: lambda number, name=name: turn(name, number) for name in "ab"}
    figures = list(take_turns(turns, PLAN))

    assert order == ["a", "b", "b", "a", "a", "b"]
    assert figures == [Figure("POST", "per s", name, (0.0, 1.0, 2.0)) for name in "ab"]


@pytest.fixture
def rivals(tmp_path: Path) -> Path:
    package = {"version": "1.2.3", "integrity": "sha512-right"}
    lock = {"packages": {"": {}, "node_modules/one": package, "node_modules/mac": {"optional": True}}}
    (tmp_path / "package-lock.json").write_text(json.dumps(lock))
    install(tmp_path, "1.2.3", "sha512-right")
    return tmp_path


def install(folder: Path, version: str, integrity: str) -> None:
    (folder / "node_modules/one").mkdir(parents=True, exist_ok=True)
    (folder / "node_modules/one/package.json").write_text(json.dumps({"version": version}))
    recorded = {"packages": {"node_modules/one": {"version": version, "integrity": integrity}}}
    (folder / "node_modules/.package-lock.json").write_text(json.dumps(recorded))


def test_packages_as_locked_are_accepted(rivals: Path):
    assert not fairness.not_as_locked(rivals)


@pytest.mark.parametrize(("version", "integrity"), [("1.2.4", "sha512-right"), ("1.2.3", "sha512-wrong")])
def test_packages_that_the_lock_does_not_have_are_refused(rivals: Path, version: str, integrity: str):
    install(rivals, version, integrity)

    assert "node_modules/one" in fairness.not_as_locked(rivals)


def test_a_locked_package_that_is_missing_is_refused(rivals: Path):
    (rivals / "node_modules/one/package.json").unlink()

    assert "node_modules/one" in fairness.not_as_locked(rivals)


def test_rivals_without_packages_are_refused(tmp_path: Path):
    assert fairness.not_as_locked(tmp_path) == "have no packages installed"


def figures(
    service: float, fastify: float, what: str = POSTS.format(16), unit: str = "per s"
) -> list[Figure]:
    return [Figure(what, unit, "service", (service,)), Figure(what, unit, "fastify", (fastify,))]


@pytest.mark.parametrize(
    ("measured", "value", "reached"),
    [
        (figures(3_000, 2_000), 1.5, True),
        (figures(2_900, 2_000), 1.45, False),
        (figures(400, 800, unit="cpu us"), 2.0, True),
        (figures(800, 800, unit="cpu us"), 1.0, False),
    ],
)
def test_a_multiple_counts_how_much_better_the_service_is(
    measured: list[Figure], value: float, reached: bool
):
    (verdict,) = targets.verdicts(measured)

    assert (verdict.value, verdict.reached) == (value, reached)


@pytest.mark.parametrize(("p99", "reached"), [(60.0, True), (60.1, False)])
def test_a_bound_of_its_own_needs_no_rival(p99: float, reached: bool):
    (verdict,) = targets.verdicts([Figure(ACCEPTING, "p99 ms", "service", (p99,))])

    assert verdict.reached is reached
    (sentence,) = targets.sentences([verdict])
    assert sentence.startswith("reached" if reached else "NOT REACHED")


def test_every_target_is_one_of_a_figure_in_the_readme():
    shown = {(what, unit) for row in readme.rows(Plan()) for what in row.whats for unit in row.units}

    assert {(target.what, target.unit) for target in targets.TARGETS} <= shown


def test_the_readme_has_a_dated_row_for_each_figure():
    measured = [*figures(500, 250, WHAT), *figures(2_000, 3_000, WHAT, "cpu us")]
    *_, row = readme.table(measured, Plan(), date(2026, 11, 25))

    assert row == (
        "| the whole job, 16 connections: from POST to `confirmed` and announced | 500 per s / 2,000 µs |  "
        f"| 250 per s (2.00{readme.TIMES}) / 3,000 µs (1.50{readme.TIMES}) |  | 2026-11-25 |"
    )


def test_the_head_of_the_table_is_that_of_the_readme():
    assert "\n".join(readme.HEAD) in (ROOT / "README.md").read_text()


def test_an_order_of_the_service_is_busy_until_it_is_announced(database: OrderDatabase):
    seed(database, 1)
    assert (SERVICE.busy(database), SERVICE.finished(database)) == (True, 0)

    (order,) = Orders(database).load([str(stored["_id"]) for stored in database.orders.find({})])
    DueWork(database).mark_announced([{**order, "announced": order["version"]}])

    assert (SERVICE.busy(database), SERVICE.finished(database)) == (False, 1)


def test_an_order_of_the_rival_is_busy_until_it_is_notified(mongo_uri: str):
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        database = client.get_default_database()
        database.orders.insert_one({"status": "confirmed"})
        assert (BULLMQ.busy(database), BULLMQ.finished(database)) == (True, 0)

        database.notifications.insert_one({"type": "order.confirmed"})

        assert (BULLMQ.busy(database), BULLMQ.finished(database)) == (False, 1)
