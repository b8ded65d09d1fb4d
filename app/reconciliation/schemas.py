"""The response schemas of reconciliations."""
# ruff: noqa: N815 - the names are those of the API

from marshmallow import fields

from app.http.schemas import Answer
from app.reconciliation.kinds import KINDS
from app.reconciliation.report import SCOPES, STATUSES

_MOMENT = {"examples": ["2024-10-04T10:00:00.000Z"]}
_COUNTS = {"additionalProperties": {"type": "integer", "minimum": 0}}

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

    id = fields.String(required=True, metadata={"pattern": "^[0-9a-f]{24}$"})
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    scopes = fields.List(fields.String(metadata={"enum": list(SCOPES)}), required=True)
    repair = fields.Boolean(required=True, metadata={"description": "Whether safe repairs were made."})
    scheduled = fields.Boolean(required=True)
    since = fields.DateTime(metadata=_MOMENT)
    startedAt = fields.DateTime(required=True, metadata=_MOMENT)
    endedAt = fields.DateTime(metadata=_MOMENT)
    checked = fields.Dict(
        required=True, metadata={**_COUNTS, "description": "The number of records compared, by sort."}
    )
    unjudged = fields.Integer(
        metadata={
            "minimum": 0,
            "description": "The number of orders that had just changed and so were not checked in full.",
        }
    )
    runAgainAfter = fields.DateTime(
        metadata={
            **_MOMENT,
            "description": "The moment after which all those orders can be checked; only with such orders.",
        }
    )
    found = fields.Dict(
        required=True, metadata={**_COUNTS, "description": "The number of differences, by kind."}
    )
    repaired = fields.Integer(required=True, metadata={"minimum": 0})
    detail = fields.String(metadata={"description": "Why the reconciliation failed."})


class ReportsOut(Answer):
    """A page of reconciliations, newest first."""

    reconciliations = fields.List(fields.Nested(ReportOut), required=True)
    nextCursor = fields.String(metadata={"description": "Absent on the last page."})


class DifferenceOut(Answer):
    """A difference between two records that should agree."""

    kind = fields.String(required=True, metadata={"enum": list(KINDS)})
    scope = fields.String(required=True, metadata={"enum": list(SCOPES)})
    ids = fields.Dict(
        required=True, metadata={"description": "The ids of the order, product, payment or event."}
    )
    expected = fields.String(required=True)
    found = fields.String(required=True)
    repair = fields.String(required=True, metadata={"description": "The proposed repair."})
    safe = fields.Boolean(required=True, metadata={"description": "Whether `--repair` makes the repair."})
    repaired = fields.Boolean(required=True)
    at = fields.DateTime(required=True, metadata=_MOMENT)


class ReportWithDifferences(ReportOut):
    """A reconciliation and a page of its differences."""

    differences = fields.List(fields.Nested(DifferenceOut), required=True)
    nextCursor = fields.String(metadata={"description": "Absent on the last page."})
