"""How the tests have a reconciliation done, and read what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.reconciliation import run as reconciling

if TYPE_CHECKING:
    from app.reconciliation.kinds import Noted, Report
    from app.services import Services


def reconciled(services: Services, **how: Any) -> Report:
    """The report of a reconciliation done at a stretch."""
    return finished(services, reconciling.begin(services.reconciliation, **how)["id"])


def finished(services: Services, report_id: str, seconds: float = 5) -> Report:
    """The report, after what was left to be done."""
    while not reconciling.advance(services.reconciliation, report_id, seconds):
        pass
    return reconciling.get_report(services.reconciliation, report_id)


def differences(services: Services, report: Report) -> list[Noted]:
    """What the report says, all of it."""
    page = reconciling.list_differences(services.reconciliation, report["id"], 100, None)
    assert page.next is None
    return page.items


def whose(difference: Noted) -> str:
    """The order or else the product that does not agree."""
    ids = difference["ids"]
    return ids.get("orderId") or ids["productId"]
