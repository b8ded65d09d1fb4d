"""The report of a reconciliation and its differences."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, get_args

Scope = Literal["payments", "stock", "orders"]
Status = Literal["running", "finished", "failed"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
STATUSES: tuple[Status, ...] = get_args(Status)


class Difference(NamedTuple):
    """One difference. `version` is the order's, or 0 without an order."""

    kind: str
    ids: Mapping[str, Any]
    expected: str
    found: str
    version: int = 0


class ReportedDifference(TypedDict):
    """A difference as a report stores it."""

    id: str
    kind: str
    ids: dict[str, Any]
    expected: str
    found: str
    at: datetime
    version: int
    repaired: bool


class Report(TypedDict):
    """One reconciliation. It covers the orders made from `since` on, or all, until `startedAt`.

    While it is running, `stage` is its phase and `place` its checkpoint in that phase. `checked` counts the
    records read, `found` the differences by kind. `unjudged` counts the orders that had changed a moment
    before; `runAgainAfter` is the moment after which all of them can be checked.
    """

    id: str
    scopes: list[Scope]
    repair: bool
    scheduled: bool
    status: Status
    startedAt: datetime
    checked: dict[str, int]
    found: dict[str, int]
    repaired: int
    stage: str
    place: NotRequired[Any]
    unjudged: NotRequired[int]
    runAgainAfter: NotRequired[datetime]
    since: NotRequired[datetime]
    endedAt: NotRequired[datetime]
    detail: NotRequired[str]
