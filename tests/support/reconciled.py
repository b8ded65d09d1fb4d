"""Runs reconciliations for tests and reads their reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.reconciliation import run as reconciling

if TYPE_CHECKING:
    from app.reconciliation.report import Report, ReportedDifference
    from app.services import Services


def reconciled(services: Services, **how: Any) -> Report:
    """The report of a reconciliation that runs without a pause."""
    return finished(services, reconciling.begin(services.reconciliation, **how)["id"])


def finished(services: Services, report_id: str, seconds: float = 5) -> Report:
    """The report, after the rest of the work."""
    while not reconciling.advance(services.reconciliation, report_id, seconds):
        pass
    return reconciling.get_report(services.reconciliation, report_id)


def differences(services: Services, report: Report) -> list[ReportedDifference]:
    """All differences of the report."""
    page = reconciling.list_differences(services.reconciliation, report["id"], 100, None)
    assert page.next is None
    return page.items


def whose(difference: ReportedDifference) -> str:
    """The id of the order, or else of the product, that has the difference."""
    ids = difference["ids"]
    return ids.get("orderId") or ids["productId"]
