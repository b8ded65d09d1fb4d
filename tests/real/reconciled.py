"""How the tests have a reconciliation done, and read what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.reconciliation import run as reconciling

if TYPE_CHECKING:
    from app.reconciliation.kinds import Noted, Report
    from app.shop import Shop


def reconciled(shop: Shop, **how: Any) -> Report:
    """The report of a reconciliation done at a stretch."""
    return finished(shop, reconciling.begin(shop, **how)["id"])


def finished(shop: Shop, report_id: str, seconds: float = 5) -> Report:
    """The report, after what was left to be done."""
    while not reconciling.advance(shop, report_id, seconds):
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
