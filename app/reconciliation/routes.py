"""The routes of reconciliation reports."""

from typing import Any

from flask import Response

from app.http.answers import NEXT
from app.http.authentication import require_json_accepted
from app.http.paging import LIKE_AN_ORDER, after, listing
from app.http.parsing import Blueprint
from app.http.request_context import services
from app.http.route_metadata import declares
from app.http.schemas import PageQuery
from app.reconciliation import run as reconciling
from app.reconciliation import schemas
from app.reconciliation.kinds import KINDS
from app.reconciliation.report import ReportedDifference
from app.reconciliation.schemas import DifferenceOut, ReportOut

SCOPE = "reconciliations:read"

_LIKE_A_DIFFERENCE = r"[0-9a-f]{24}:[^\x00]{1,1000}"

blueprint = Blueprint(
    "reconciliations", __name__, description="Reports on whether orders, money and stock agree."
)
blueprint.before_request(require_json_accepted)


@blueprint.get("/reconciliations")
@blueprint.arguments(PageQuery(), location="query")
@blueprint.response(200, schemas.ReportsOut, headers=NEXT, example=schemas.REPORTS)
@declares(SCOPE, "bad_cursor")
def list_reconciliations(query: dict[str, Any]) -> Response:
    """List reconciliations, newest first"""
    page = reconciling.list_reports(
        services().reconciliation, query["limit"], after(query.get("cursor"), LIKE_AN_ORDER)
    )
    return listing("reconciliations", [ReportOut.of(report) for report in page.items], page.next)


@blueprint.get("/reconciliations/<report_id>")
@blueprint.arguments(PageQuery(), location="query")
@blueprint.response(
    200,
    schemas.ReportWithDifferences,
    headers=NEXT,
    example=schemas.WITH_DIFFERENCES,
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
    return listing("differences", shown, page.next, **ReportOut.of(report))


def _difference(found: ReportedDifference) -> dict[str, Any]:
    kind = KINDS[found["kind"]]
    return DifferenceOut.of({**found, "scope": kind.scope, "repair": kind.proposal, "safe": kind.safe})
