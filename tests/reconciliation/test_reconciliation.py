"""Records in order show no difference, and each fault in them shows as its own kind and as no other."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.clock import new_id
from app.reconciliation import run as reconciling
from app.reconciliation.kinds import KINDS
from app.stock.service import set_levels
from tests.support.doubles import with_parts
from tests.support.faults import MoreOnTheBooks, Planter
from tests.support.healthy import Healthy
from tests.support.reconciled import differences, reconciled, whose

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.doubles import StoppedClock

REPAIRED = {name for name, kind in KINDS.items() if kind.repair}
MINUTE = timedelta(minutes=1)
TABLE = Path(__file__).parents[2] / "docs/reconciliation.md"


@pytest.fixture
def services(services: Services) -> Services:
    """Services whose provider has payments beside those of the sandbox."""
    provider: Any = MoreOnTheBooks(services.payments.provider)
    return with_parts(services, payments=provider)


@pytest.fixture
def healthy(
    services: Services, database: OrderDatabase, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> Healthy:
    """Records that nothing changes, so the re-check needs no delay."""
    monkeypatch.setattr(reconciling, "GRACE", 0)
    return Healthy(services, database, clock)


@pytest.mark.timeout(300)
def test_each_fault_among_two_thousand_orders_is_found_and_repaired_where_that_is_safe(
    healthy: Healthy, services: Services, database: OrderDatabase
) -> None:
    """Nothing is found before, nothing beside them, and nothing once a person has repaired the others."""
    healthy.fill(hundreds=20)
    assert database["orders"].count_documents({}) >= 2_000
    assert reconciled(services)["found"] == {}

    planter = Planter(healthy, services.payments.provider)  # type: ignore[arg-type]
    planted = planter.plant(KINDS)
    healthy.clock.advance(2 * MINUTE)
    report = reconciled(services, repair=True)
    found = differences(services, report)
    assert {one["kind"]: whose(one) for one in found} == planted
    assert report["found"] == dict.fromkeys(KINDS, 1)
    assert {one["kind"] for one in found if one["repaired"]} == REPAIRED

    # The levels last: what they should be depends on the movements.
    for one in sorted(found, key=lambda one: one["kind"].startswith("level")):
        if not one["repaired"]:
            planter.mend(one["kind"], whose(one))
    services.payments.provider.more.clear()  # type: ignore[attr-defined]
    healthy.come_to_rest()
    again = reconciled(services)
    assert differences(services, again) == []
    assert again["checked"]["orders"] == report["checked"]["orders"]


def test_without_being_asked_to_nothing_is_repaired(healthy: Healthy, services: Services) -> None:
    """A second reconciliation finds the same."""
    healthy.fill(hundreds=1)
    planted = Planter(healthy, services.payments.provider).plant(REPAIRED)  # type: ignore[arg-type]
    healthy.clock.advance(2 * MINUTE)
    for _ in range(2):
        report = reconciled(services)
        assert {one["kind"]: whose(one) for one in differences(services, report)} == planted
        assert report["repaired"] == 0


@pytest.mark.parametrize("scope", ["payments", "stock", "orders"])
def test_a_scope_looks_for_its_own_kinds_alone(healthy: Healthy, services: Services, scope: Any) -> None:
    healthy.fill(hundreds=1)
    kinds = ("payment_missing", "payment_orphaned", "movement_missing", "level_differs", "document_differs")
    Planter(healthy, services.payments.provider).plant(kinds)  # type: ignore[arg-type]
    healthy.clock.advance(2 * MINUTE)
    report = reconciled(services, scopes=[scope])
    assert report["found"] == {kind: 1 for kind in kinds if KINDS[kind].scope == scope}
    assert report["scopes"] == [scope]


def test_the_kinds_are_those_of_the_documentation() -> None:
    """In the same order, and in the same words."""
    rows = []
    for name, kind in KINDS.items():
        by = "`--repair`" if kind.safe else "a person"
        rows.append(f"| `{name}` | {kind.scope} | {kind.means} | {kind.proposal} | {by} |")
    table = TABLE.read_text().partition("| kind | ")[2].splitlines()[2:]
    assert table == rows


def test_an_order_that_has_just_changed_is_not_checked(
    healthy: Healthy, services: Services, clock: StoppedClock
) -> None:
    """A payment and a movement are missing, but the order changed a moment ago."""
    healthy.fill(hundreds=1)
    planted = Planter(healthy, services.payments.provider).plant(["payment_missing", "movement_missing"])  # type: ignore[arg-type]
    for order_id in planted.values():
        healthy.database["orders"].update_one(
            {"_id": ObjectId(order_id)}, {"$set": {"updatedAt": clock(), "events.4.at": clock()}}
        )
    assert reconciled(services, scopes=["payments", "stock"])["found"] == {}
    clock.advance(2 * MINUTE)
    assert reconciled(services, scopes=["payments", "stock"])["found"] == dict.fromkeys(planted, 1)


def test_a_candidate_that_changes_before_the_recheck_is_no_difference(
    healthy: Healthy, services: Services
) -> None:
    """Even if it still looks like one: the next reconciliation decides."""
    healthy.fill(hundreds=1)
    planted = Planter(healthy, services.payments.provider).plant(["payment_missing", "level_differs"])  # type: ignore[arg-type]
    healthy.clock.advance(2 * MINUTE)
    report_id = reconciling.begin(services.reconciliation)["id"]
    while reconciling.get_report(services.reconciliation, report_id)["stage"] != "second look":
        assert not reconciling.advance(services.reconciliation, report_id, 0)
    assert len(services.reconciliation.reports.candidates(report_id, 3)) == 2
    assert reconciling.list_differences(services.reconciliation, report_id, 100, None).items == []
    moved_on = {"_id": ObjectId(planted["payment_missing"])}
    healthy.database["orders"].update_one(moved_on, {"$inc": {"version": 1}}, bypass_document_validation=True)
    set_levels(services.stock, {"product-3": 7})
    healthy.database["stock"].update_one({"_id": "product-3"}, {"$inc": {"onHand": -1}})
    while not reconciling.advance(services.reconciliation, report_id, 5):
        pass
    assert reconciling.get_report(services.reconciliation, report_id)["found"] == {}


def test_an_order_that_cannot_be_read_is_reported_and_affects_no_other(
    healthy: Healthy, services: Services
) -> None:
    healthy.fill(hundreds=1)
    (order_id, *_) = healthy.ids["confirmed"]
    healthy.database["orders"].update_one(
        {"_id": ObjectId(order_id)}, {"$unset": {"payment": ""}}, bypass_document_validation=True
    )
    planted = Planter(healthy, services.payments.provider).plant(["forgotten"])  # type: ignore[arg-type]
    healthy.clock.advance(2 * MINUTE)
    found = {one["kind"]: whose(one) for one in differences(services, reconciled(services))}
    assert found == {**planted, "order_unreadable": order_id}


def test_payments_that_name_no_order_of_ours_are_reported_where_there_is_money_on_them(
    healthy: Healthy, services: Services
) -> None:
    at = services.clock()
    for number, order_id in enumerate(("", "66ffbd20", new_id(at - MINUTE))):
        services.payments.provider.add(order_id, at, f"payment {number}")  # type: ignore[attr-defined]
    more = services.payments.provider.more  # type: ignore[attr-defined]
    more["closed"] = more["payment 0"]._replace(reference="closed", status="voided", captured=0)
    healthy.clock.advance(MINUTE)
    found = differences(services, reconciled(services))
    assert {one["kind"] for one in found} == {"payment_orphaned"}
    assert sorted(one["ids"]["reference"] for one in found) == ["payment 0", "payment 1", "payment 2"]


@pytest.mark.parametrize(
    "change",
    [
        {"enabled": False, "disabledReason": "requested"},
        {"events": ["order.shipped"]},
        {"createdAt": "now", "updatedAt": "now"},
        {"updatedAt": "now"},
    ],
    ids=["disabled", "asks for others", "created since", "changed since"],
)
def test_an_endpoint_misses_nothing_that_it_did_not_ask_for_at_the_time(
    healthy: Healthy, services: Services, database: OrderDatabase, change: dict[str, Any]
) -> None:
    """Without any change it misses one delivery; the record of it is gone."""
    healthy.fill(hundreds=1)
    Planter(healthy, services.payments.provider).plant(["delivery_missing"])  # type: ignore[arg-type]
    healthy.clock.advance(2 * MINUTE)
    assert reconciled(services)["found"] == {"delivery_missing": 1}
    fields = {name: services.clock() if value == "now" else value for name, value in change.items()}
    database["webhook_endpoints"].update_one({}, {"$set": fields})
    assert reconciled(services)["found"] == {}


def test_deliveries_whose_retention_is_over_are_not_missing(
    healthy: Healthy, services: Services, database: OrderDatabase
) -> None:
    """They are removed, and their orders stay."""
    healthy.fill(hundreds=1)
    database["webhook_deliveries"].delete_many({})
    healthy.clock.advance(timedelta(days=services.settings.delivery_retention_days))
    assert "delivery_missing" not in reconciled(services)["found"]


def test_a_missing_delivery_that_is_recorded_again_is_due(
    healthy: Healthy, services: Services, database: OrderDatabase
) -> None:
    healthy.fill(hundreds=1)
    planted = Planter(healthy, services.payments.provider).plant(["delivery_missing"])  # type: ignore[arg-type]
    healthy.clock.advance(2 * MINUTE)
    assert reconciled(services, repair=True)["repaired"] == 1
    missed = {"orderId": planted["delivery_missing"], "sequence": 1}
    (delivery,) = database["webhook_deliveries"].find(missed)
    assert delivery["status"] == "pending"
    assert delivery["dueBy"] <= services.clock()
