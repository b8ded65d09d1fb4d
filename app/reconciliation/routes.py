"""The routes of reconciliation reports."""

from datetime import datetime
from typing import Any

from flask import Response

from app.clock import to_text
from app.http.authentication import require_json_accepted
from app.http.paging import LIKE_AN_ORDER, after, listing
from app.http.parsing import Blueprint
from app.http.request_context import services
from app.http.route_metadata import declares
from app.http.schemas import PageQuery
from app.orders.routes import NEXT
from app.reconciliation import run as reconciling
from app.reconciliation import schemas as reconciliation_schemas
from app.reconciliation.kinds import KINDS
from app.reconciliation.report import Report, ReportedDifference

SCOPE = "reconciliations:read"

_LIKE_A_DIFFERENCE = r"[0-9a-f]{24}:[^\x00]{1,1000}"
_REPORT = (
    "id", "status", "scopes", "repair", "scheduled", "since", "startedAt", "endedAt", "checked",
    "unjudged", "runAgainAfter", "found", "repaired", "detail",
)  # fmt: skip

blueprint = Blueprint(
    "reconciliations", __name__, description="Reports on whether orders, money and stock agree."
)
blueprint.before_request(require_json_accepted)


@blueprint.get("/reconciliations")
@blueprint.arguments(PageQuery(), location="query")
@blueprint.response(
    200, reconciliation_schemas.ReportsOut, headers=NEXT, example=reconciliation_schemas.REPORTS
)
@declares(SCOPE, "bad_cursor")
def list_reconciliations(query: dict[str, Any]) -> Response:
    """List reconciliations, newest first"""
    page = reconciling.list_reports(
        services().reconciliation, query["limit"], after(query.get("cursor"), LIKE_AN_ORDER)
    )
    return listing("reconciliations", [_report(report) for report in page.items], page.next)


@blueprint.get("/reconciliations/<report_id>")
@blueprint.arguments(PageQuery(), location="query")
@blueprint.response(
    200,
    reconciliation_schemas.ReportWithDifferences,
    headers=NEXT,
    example=reconciliation_schemas.WITH_DIFFERENCES,
)
@declares(SCOPE, "bad_cursor", "not_found")
def get_reconciliation(query: dict[str, Any], report_id: str) -> Response:
    """Get a reconciliation and its differences

    The differences are sorted by kind; `limit` and `cursor` page them.
    """
    report = reconciling.get_report(services().reconciliation, report_id)
    behind = after(query.get("cursor"), _LIKE_A_DIFFERENCE)
    page = reconciling.list_differences(services().reconciliation, report["id"], query["limit"], behind)
    shown = [_difference(difference) for difference in page.items]
    return listing("differences", shown, page.next, **_report(report))


def _report(found: Report) -> dict[str, Any]:
    return {name: _plain(found[name]) for name in _REPORT if name in found}  # type: ignore[literal-required]


def _difference(found: ReportedDifference) -> dict[str, Any]:
    kind = KINDS[found["kind"]]
    return {
        "kind": found["kind"],
        "scope": kind.scope,
        "ids": found["ids"],
        "expected": found["expected"],
        "found": found["found"],
        "repair": kind.proposal,
        "safe": kind.safe,
        "repaired": found["repaired"],
        "at": to_text(found["at"]),
    }


def _plain(value: Any) -> Any:
    return to_text(value) if isinstance(value, datetime) else value
