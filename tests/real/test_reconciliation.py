"""Books in good order show no difference, each fault in them shows as what it is, and as nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.reconciliation import KINDS
from app.services import reconciling
from app.services.repairing import REPAIRS
from tests.real.faults import MoreOnTheBooks, Planter
from tests.real.healthy import Healthy

if TYPE_CHECKING:
    from app.domain.reconciliation import Noted, Report
    from app.services.shop import Shop
    from app.storage.database import OrderDatabase
    from tests.real.doubles import StoppedClock

MINUTE = timedelta(minutes=1)
TABLE = Path("docs/reconciliation.md")


@pytest.fixture
def provider(shop: Shop) -> MoreOnTheBooks:
    """A provider with payments beside those of the sandbox."""
    return MoreOnTheBooks(shop.payments)


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A shop that has such a provider."""
    provider: Any = MoreOnTheBooks(shop.payments)
    return replace(shop, payments=provider)


@pytest.fixture
def healthy(shop: Shop, database: OrderDatabase, clock: StoppedClock, monkeypatch: Any) -> Healthy:
    """Books with nothing in them yet, which nobody changes, so that a second look can come at once."""
    monkeypatch.setattr(reconciling, "GRACE", 0)
    return Healthy(shop, database, clock)


def test_each_fault_among_two_thousand_orders_is_found_and_repaired_where_that_is_safe(
    healthy: Healthy, shop: Shop, database: OrderDatabase
) -> None:
    """Nothing is found before, nothing beside them, and nothing once a person has seen to the others."""
    healthy.fill(hundreds=20)
    assert database["orders"].count_documents({}) >= 2_000
    assert reconciled(shop)["found"] == {}

    planter = Planter(healthy, shop.payments)  # type: ignore[arg-type]
    planted = planter.plant(KINDS)
    healthy.clock.advance(2 * MINUTE)
    report = reconciled(shop, repair=True)
    found = differences(shop, report)
    assert {one["kind"]: whose(one) for one in found} == planted
    assert report["found"] == dict.fromkeys(KINDS, 1)
    assert {one["kind"] for one in found if one["repaired"]} == REPAIRS.keys()

    # The levels last: what they should be depends on the movements.
    for one in sorted(found, key=lambda one: one["kind"].startswith("level")):
        if not one["repaired"]:
            planter.mend(one["kind"], whose(one))
    shop.payments.more.clear()  # type: ignore[attr-defined]
    healthy.come_to_rest()
    again = reconciled(shop)
    assert differences(shop, again) == []
    assert again["checked"]["orders"] == report["checked"]["orders"]


def reconciled(shop: Shop, **how: Any) -> Report:
    """The report of a reconciliation done at a stretch."""
    report_id = reconciling.begin(shop, **how)["id"]
    while not reconciling.advance(shop, report_id, 5):
        pass
    return reconciling.get_report(shop, report_id)


def differences(shop: Shop, report: Report) -> list[Noted]:
    """What the report says, all of it."""
    page = reconciling.list_differences(shop, report["id"], 100, None)
    assert page.next is None
    return page.items


def whose(difference: Noted) -> str:
    """The order or else the product that does not agree."""
    ids = difference["ids"]
    return ids.get("orderId") or ids["productId"]
