"""A reconciliation runs in slices, on any process, and each process may die between any two writes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app import schema
from app.errors import ProviderUnavailable
from app.orders.sweeping import purge_deleted_orders
from app.reconciliation import run as reconciling
from app.reconciliation.kinds import KINDS
from migrations import m0003_edges, m0010_goods_ledger
from tests.support.doubles import Crash, at_once, followed, with_parts
from tests.support.faults import MoreOnTheBooks, Planter
from tests.support.healthy import Healthy
from tests.support.reconciled import differences, finished, reconciled, whose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from app.mongo.database import OrderDatabase
    from app.payments.model import ProviderPayment
    from app.services import Services
    from tests.support.doubles import StoppedClock

KINDS_PLANTED = (
    "payment_missing",
    "payment_orphaned",
    "movement_missing",
    "level_differs",
    "log_broken",
    "overdue",
)
WRITES = (
    "claim",
    "move",
    "release",
    "end",
    "add_candidates",
    "candidates",
    "discard",
    "confirm",
    "note_repair",
)
HOUR = timedelta(hours=1)


class Backwards(MoreOnTheBooks):
    """A provider that lists the newest first."""

    def list_since(self, moment: datetime) -> Iterator[ProviderPayment]:
        yield from reversed(list(super().list_since(moment)))


class Silent(MoreOnTheBooks):
    """A provider that does not answer."""

    def list_since(self, moment: datetime) -> Iterator[ProviderPayment]:
        raise ProviderUnavailable("The provider is down.")
        yield


@pytest.fixture
def services(services: Services) -> Services:
    """Services whose provider has payments beside those of the sandbox."""
    provider: Any = MoreOnTheBooks(services.payments.provider)
    return with_parts(services, payments=provider)


@pytest.fixture
def healthy(
    services: Services, database: OrderDatabase, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> Healthy:
    """A hundred orders, gone through twenty at a time."""
    for name, value in {"GRACE": 0, "BATCH": 20, "PRODUCTS": 5, "CANDIDATES": 1}.items():
        monkeypatch.setattr(reconciling, name, value)
    books = Healthy(services, database, clock)
    books.fill(hundreds=1)
    return books


@pytest.fixture
def planted(healthy: Healthy, services: Services) -> dict[str, str]:
    """Some faults, and the order or product of each."""
    faults = Planter(healthy, services.payments.provider).plant(KINDS_PLANTED)  # type: ignore[arg-type]
    healthy.clock.advance(timedelta(minutes=2))
    return faults


@pytest.mark.parametrize("method", WRITES)
def test_a_reconciliation_killed_after_any_write_is_continued(
    planted: dict[str, str], services: Services, database: OrderDatabase, method: str
) -> None:
    """The process that takes over the expired claim finds the same, and counts nothing twice."""
    report_id = reconciling.begin(services.reconciliation, repair=True)["id"]
    kills, ended = 0, False
    while not ended:
        try:
            ended = reconciling.advance(
                followed(services, "reconciliations", method, _die).reconciliation, report_id, 0
            )
        except Crash:
            kills += 1
            run_out = {"claimedUntil": services.clock()}
            database["reconciliations"].update_one({"claim": {"$exists": True}}, {"$set": run_out})
            ended = reconciling.advance(services.reconciliation, report_id, 0)
    assert kills
    report = reconciling.get_report(services.reconciliation, report_id)
    assert report["checked"] == {"orders": 115, "products": 22, "payments": 97}
    assert {one["kind"]: whose(one) for one in differences(services, report)} == planted
    assert report["repaired"] in (0, 1)


def test_a_claim_that_has_not_run_out_is_respected(planted: dict[str, str], services: Services) -> None:
    report_id = reconciling.begin(services.reconciliation)["id"]
    with pytest.raises(Crash):
        reconciling.advance(followed(services, "reconciliations", "move", _die).reconciliation, report_id, 5)
    before = reconciling.get_report(services.reconciliation, report_id)
    assert not reconciling.advance(services.reconciliation, report_id, 5)
    assert reconciling.get_report(services.reconciliation, report_id) == before


def test_a_slice_that_outlives_its_claim_changes_nothing(
    planted: dict[str, str], services: Services, clock: StoppedClock
) -> None:
    """Its claim expired while it slept, and another process has finished the work."""
    report_id = reconciling.begin(services.reconciliation)["id"]

    def overtaken() -> None:
        clock.advance(reconciling.CLAIM)
        finished(services, report_id)

    sleeping = followed(services, "audit", "read_range", overtaken)
    assert not reconciling.advance(sleeping.reconciliation, report_id, 5)
    report = reconciling.get_report(services.reconciliation, report_id)
    assert report["status"] == "finished"
    assert {one["kind"]: whose(one) for one in differences(services, report)} == planted


def test_several_at_once_share_the_work_of_one_and_do_not_disturb_another(
    planted: dict[str, str], services: Services
) -> None:
    ids = [reconciling.begin(services.reconciliation)["id"] for _ in range(2)]
    at_once(*(lambda one=one: finished(services, one, 0) for one in ids * 2))
    for report_id in ids:
        report = reconciling.get_report(services.reconciliation, report_id)
        assert report["checked"]["orders"] == 115
        assert {one["kind"]: whose(one) for one in differences(services, report)} == planted


def test_a_provider_that_lists_the_newest_first_comes_to_the_same(
    planted: dict[str, str], services: Services
) -> None:
    backwards: Any = Backwards(services.payments.provider)
    report_id = reconciling.begin(services.reconciliation)["id"]
    report = finished(with_parts(services, payments=backwards), report_id, 0)
    assert {one["kind"]: whose(one) for one in differences(services, report)} == planted


def test_a_provider_that_does_not_answer_is_asked_again_later(
    planted: dict[str, str], services: Services, clock: StoppedClock
) -> None:
    silent: Any = Silent(services.payments.provider)
    report_id = reconciling.begin(services.reconciliation)["id"]
    with pytest.raises(ProviderUnavailable):
        reconciling.advance(with_parts(services, payments=silent).reconciliation, report_id, 5)
    assert not reconciling.advance(services.reconciliation, report_id, 5)
    clock.advance(reconciling.PAUSE)
    report = finished(services, report_id)
    assert report["found"].keys() == planted.keys()


def test_the_schedule_begins_one_per_interval_however_many_ask(
    planted: dict[str, str], services: Services, clock: StoppedClock
) -> None:
    """And none while one is under way."""
    every = services.settings.reconcile_every
    for number in range(1, 3):
        at_once(*(lambda: reconciling.go_on(services.reconciliation, 0) for _ in range(6)))
        assert len(services.reconciliation.reports.page(None, 10)) == number
        clock.advance(every)
        reconciling.go_on(services.reconciliation, 0)
        assert len(services.reconciliation.reports.page(None, 10)) == number
        while services.reconciliation.reports.running():
            reconciling.go_on(services.reconciliation, 5)
    newest = services.reconciliation.reports.page(None, 1)[0]
    assert newest["scheduled"]
    assert not newest["repair"]
    assert newest["since"] == newest["startedAt"] - services.settings.reconcile_window


def test_the_schedule_repairs_where_that_is_set(planted: dict[str, str], services: Services) -> None:
    mending = with_parts(services, settings=replace(services.settings, reconcile_repair=True))
    reconciling.go_on(mending.reconciliation, 60)
    report = services.reconciliation.reports.page(None, 1)[0]
    assert report["repaired"] == sum(KINDS[kind].safe for kind in planted)


def test_old_reports_are_removed_and_no_payments_stay_staged(
    healthy: Healthy, services: Services, clock: StoppedClock
) -> None:
    reconciled(services)
    broken_off = reconciling.begin(services.reconciliation)["id"]
    reconciling.advance(services.reconciliation, broken_off, 0)
    assert services.reconciliation.audit.staging_reports() == {broken_off}
    reconciling.break_off(services.reconciliation, broken_off, "It was interrupted.")
    assert services.reconciliation.audit.staging_reports() == set()
    clock.advance(timedelta(days=services.settings.retention_days, minutes=1))
    reconciling.go_on(services.reconciliation, 0)
    assert [report["scheduled"] for report in services.reconciliation.reports.page(None, 10)] == [True]


def test_only_orders_made_since_are_looked_at(
    planted: dict[str, str], services: Services, healthy: Healthy
) -> None:
    report = reconciled(
        services, scopes=["orders", "payments"], since=services.clock() - timedelta(seconds=1)
    )
    assert (report["checked"], report["found"]) == ({"orders": 0, "payments": 0}, {})
    everything = reconciled(services, scopes=["orders", "payments"], since=services.clock() - 10 * HOUR)
    assert everything["checked"]["orders"] == 115


def test_a_purge_that_is_killed_halfway_leaves_nothing_to_find(
    healthy: Healthy, services: Services, clock: StoppedClock
) -> None:
    """Between the purge of the records about an order and that of the order itself."""
    for order_id in healthy.ids["deleted"]:
        healthy.database["orders"].update_one(
            {"_id": ObjectId(order_id)}, {"$set": {"deletedAt": clock() - timedelta(days=1000)}}
        )
    with pytest.raises(Crash):
        purge_deleted_orders(followed(services, "feed", "purge", _die).orders)
    report = reconciled(services)
    assert report["found"].keys() <= {"document_differs"}
    purge_deleted_orders(services.orders)
    assert reconciled(services)["found"] == {}


def _die() -> None:
    raise Crash


def test_orders_purged_before_their_ids_were_kept_are_known_by_their_records(
    healthy: Healthy, services: Services, database: OrderDatabase
) -> None:
    """The upgrade finds them, and nothing else."""
    gone = {found["_id"] for found in database["purged_orders"].find()}
    database["purged_orders"].delete_many({})
    healthy.clock.advance(timedelta(minutes=2))
    # The last row of the feed outlives its order, since the next position is counted on from it.
    orphans = {"movement_orphaned", "payment_orphaned", "feed_unfounded"}
    assert reconciled(services)["found"].keys() == orphans
    for _ in range(2):
        m0003_edges.upgrade(database, services.settings, lambda *_: None)
    # The other tests rely on the schema of today, not of that day.
    m0010_goods_ledger.upgrade(database, services.settings, lambda *_: None)
    schema.apply(database)
    assert {found["_id"] for found in database["purged_orders"].find()} == gone
    assert reconciled(services)["found"] == {}
