"""The response schemas of reconciliations."""
# ruff: noqa: N815 - the names are those of the API

from marshmallow import fields

from app.http.schemas import ORDER_ID, Answer, flag, listed, mapping, moment, next_cursor, text, whole
from app.reconciliation.kinds import KINDS
from app.reconciliation.report import SCOPES, STATUSES

_COUNTS = {"type": "integer", "minimum": 0}

DIFFERENCE = {
    "kind": "captured_on_cancelled",
    "scope": "payments",
    "ids": {"orderId": "66ffbd20a1b2c3d4e5f60718", "reference": "sandbox_66ffbd20a1b2c3d4e5f60718"},
    "expected": "200.00 USD given back",
    "found": "captured, 200.00 USD, captured 200.00, refunded 0.00",
    "repair": KINDS["captured_on_cancelled"].proposal,
    "safe": True,
    "repaired": False,
    "at": "2024-10-04T10:00:12.000Z",
}
REPORT = {
    "id": "66ffbd20a1b2c3d4e5f60719",
    "status": "finished",
    "scopes": list(SCOPES),
    "repair": False,
    "scheduled": True,
    "since": "2024-09-27T10:00:00.000Z",
    "startedAt": "2024-10-04T10:00:00.000Z",
    "endedAt": "2024-10-04T10:00:14.000Z",
    "checked": {"orders": 5_000, "payments": 4_800, "products": 120},
    "unjudged": 14,
    "runAgainAfter": "2024-10-04T10:00:59.120Z",
    "found": {"captured_on_cancelled": 1},
    "repaired": 0,
}
REPORTS = {"reconciliations": [REPORT]}
WITH_DIFFERENCES = {**REPORT, "differences": [DIFFERENCE]}


class ReportOut(Answer):
    """A reconciliation of the orders created from `since`, or from the first one, until `startedAt`."""

    id = text("The id of the reconciliation.", pattern=ORDER_ID)
    status = text("The status of the reconciliation.", enum=list(STATUSES))
    scopes = listed(fields.String(metadata={"enum": list(SCOPES)}), "The records that it compares.")
    repair = flag("Whether safe repairs were made.")
    scheduled = flag("Whether the schedule started it, and not the command line.")
    since = moment("The creation time of the first orders; absent if all are covered.", required=False)
    startedAt = moment("The time at which it started.")
    endedAt = moment("The time at which it ended; absent while it runs.", required=False)
    checked = mapping("The number of records compared, by sort.", additionalProperties=_COUNTS)
    unjudged = whole(
        "The number of orders that had just changed and so were not checked in full.",
        required=False,
        minimum=0,
    )
    runAgainAfter = moment(
        "The moment after which all those orders can be checked; only with such orders.", required=False
    )
    found = mapping("The number of differences, by kind.", additionalProperties=_COUNTS)
    repaired = whole("The number of differences that were repaired.", minimum=0)
    detail = text("Why the reconciliation failed.", required=False)


class ReportsOut(Answer):
    """A page of reconciliations, newest first."""

    reconciliations = listed(fields.Nested(ReportOut), "The reconciliations of the page, newest first.")
    nextCursor = next_cursor()


class DifferenceOut(Answer):
    """A difference between two records that should agree."""

    kind = text("The kind of the difference.", enum=list(KINDS))
    scope = text("The records that were compared.", enum=list(SCOPES))
    ids = mapping("The ids of the order, product, payment or event.")
    expected = text("What the record should be.")
    found = text("What the record is.")
    repair = text("The proposed repair.")
    safe = flag("Whether `--repair` makes the repair.")
    repaired = flag("Whether the repair was made.")
    at = moment("The time at which the difference was found.")


class ReportWithDifferences(ReportOut):
    """A reconciliation and a page of its differences."""

    differences = listed(fields.Nested(DifferenceOut), "The differences of the page, by kind.")
    nextCursor = next_cursor()
