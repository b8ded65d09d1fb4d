"""Runs a reconciliation in slices, so that it blocks no worker and any process can continue it.

Each phase records candidates. The last phase checks them again: by then an order that was only in motion has
come to rest, or has changed and is left to the next reconciliation. A confirmed candidate is a difference.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import structlog

from app.clock import id_at, new_id
from app.errors import NotFound, ProviderUnavailable
from app.orders.service import Page, page_of
from app.reconciliation import ReconciliationServices
from app.reconciliation.candidates import check, check_levels, check_orphans, recheck
from app.reconciliation.report import SCOPES, Difference, Report, Scope
from app.reconciliation.store import Claimed, ClaimLost, Progress

log = structlog.get_logger()

BATCH = 500
# A level is compared with every movement that its product ever had.
PRODUCTS = 100
# Each of these may ask the provider.
CANDIDATES = 50
# Seconds between the first check and the re-check.
GRACE = 1.0
# Longer than any batch takes. After that the claim of a process that died is free again.
CLAIM = timedelta(minutes=2)
# The wait before an unavailable provider is asked again.
PAUSE = timedelta(seconds=30)

_FIRST_ID = "0" * 24
_ORDER_ID = re.compile("[0-9a-f]{24}")
_EPOCH = datetime.fromtimestamp(0, UTC)
# The provider's clock may be behind ours, and count in seconds.
_SKEW = timedelta(minutes=10)


class Done(NamedTuple):
    """A finished batch. `checkpoint` is None at the end of the phase; `checked` counts the records read.

    Stop only at a checkpoint that the phase can resume from (`can_stop`). `too_early` is as in `Checked`.
    """

    checkpoint: Any
    checked: Mapping[str, int] = {}
    can_stop: bool = True
    too_early: Sequence[datetime] = ()


def begin(
    services: ReconciliationServices,
    scopes: Sequence[Scope] = SCOPES,
    *,
    since: datetime | None = None,
    repair: bool = False,
) -> Report:
    """Begins a reconciliation of the orders made since then, or of all. `advance` does the work."""
    report = _report(services, new_id(services.clock()), scopes, since, repair=repair, scheduled=False)
    services.reports.begin(report)
    return report


def go_on(services: ReconciliationServices, seconds: float) -> None:
    """Begins a reconciliation if the schedule asks for one, then does a slice of the oldest running one."""
    running = services.reports.running()
    if not any(report["scheduled"] for report in running):
        running += _begin_scheduled(services)
    if running:
        advance(services, running[0]["id"], seconds)


def advance(services: ReconciliationServices, report_id: str, seconds: float) -> bool:
    """Advances a reconciliation for about so long, unless another process does. Returns whether it has ended.

    Raises ProviderUnavailable, DatabaseUnavailable. The reconciliation can continue later.
    """
    now, deadline = services.clock(), time.monotonic() + seconds
    claimed = services.reports.claim(report_id, now, now + CLAIM)
    if claimed is None:
        return get_report(services, report_id)["status"] != "running"
    try:
        while (phase := claimed.report["stage"]) != _END:
            for done in _PHASES[phase](services, claimed.report):
                is_over = done.checkpoint is None
                following = _phase_after(phase, claimed.report["scopes"]) if is_over else phase
                progress = Progress(following, done.checkpoint, Counter(done.checked), done.too_early)
                services.reports.move(claimed, progress, services.clock() + CLAIM)
                if done.can_stop and time.monotonic() > deadline:
                    services.reports.release(claimed, services.clock())
                    return False
        _end(services, claimed)
    except ClaimLost:
        return False
    except ProviderUnavailable:
        services.reports.release(claimed, services.clock() + PAUSE)
        raise
    return True


def break_off(services: ReconciliationServices, report_id: str, reason: str) -> None:
    """Ends a reconciliation early and for good."""
    services.reports.fail(report_id, services.clock(), reason)
    _drop_staging(services)


def get_report(services: ReconciliationServices, report_id: str) -> Report:
    """A report. Raises NotFound."""
    report = services.reports.get(report_id)
    if report is None:
        raise NotFound("This reconciliation does not exist.")
    return report


def list_reports(services: ReconciliationServices, limit: int, after: str | None) -> Page:
    """A page of the reports, newest first."""
    return page_of(services.reports.page(after, limit), limit, "id")


def list_differences(services: ReconciliationServices, report_id: str, limit: int, after: str | None) -> Page:
    """A page of the differences of a reconciliation, by kind."""
    return page_of(services.reports.differences(report_id, after, limit), limit, "id")


def orders_to_check(services: ReconciliationServices, report: Report) -> int:
    """The number of orders that the reconciliation covers."""
    return services.audit.count(*first_and_last(report))


def first_and_last(report: Report) -> tuple[str, str]:
    """The order id before the first one covered, and the last one covered."""
    since = report.get("since")
    first = id_at(since) if since else _FIRST_ID
    return f"{max(0, int(first, 16) - 1):024x}", id_at(report["startedAt"])


def _begin_scheduled(services: ReconciliationServices) -> list[Report]:
    """Begins the reconciliation of the current interval, unless it exists. Returns it in a list, or none."""
    settings, now = services.settings, services.clock()
    begins = _EPOCH + (now - _EPOCH) // settings.reconcile_every * settings.reconcile_every
    if services.reports.get(id_at(begins)):
        return []
    since = now - settings.reconcile_window
    report = _report(services, id_at(begins), SCOPES, since, repair=settings.reconcile_repair, scheduled=True)
    if not services.reports.begin(report):
        return []
    services.reports.forget_before(now - timedelta(days=max(1, settings.retention_days)))
    return [report]


def _report(
    services: ReconciliationServices,
    report_id: str,
    scopes: Sequence[Scope],
    since: datetime | None,
    **how: bool,
) -> Report:
    asked = [scope for scope in SCOPES if scope in scopes]
    report = Report(
        id=report_id,
        scopes=asked,
        repair=how["repair"],
        scheduled=how["scheduled"],
        status="running",
        startedAt=services.clock(),
        checked={},
        unjudged=0,
        found={},
        repaired=0,
        stage=_phase_after(None, asked),
    )
    if since:
        report["since"] = max(since, _EPOCH)
    return report


def _phase_after(phase: str | None, scopes: Sequence[Scope]) -> str:
    following = [name for name, wanted in _WANTED.items() if not wanted.isdisjoint(scopes)]
    return [*following, _END][following.index(phase) + 1 if phase else 0]


def _stage_payments(services: ReconciliationServices, report: Report) -> Iterator[Done]:
    """Stages the provider's payments by order.

    The checkpoint is the time of the newest payment read. A provider that does not list the oldest first has
    no checkpoint, so its list is read in one go.
    """
    first, last = first_and_last(report)
    begin = newest = report.get("place") or max(_EPOCH, report.get("since", _EPOCH) - _SKEW)
    listed, in_order = services.payments.provider.list_since(newest), True
    while batch := list(islice(listed, BATCH)):
        ours = [one for one in batch if _ORDER_ID.fullmatch(one.order_id)]
        strange = [one for one in batch if not _ORDER_ID.fullmatch(one.order_id)]
        _add_candidates(services, report, check_orphans(strange))
        services.audit.stage(report["id"], [one for one in ours if first < one.order_id <= last])
        times = [newest, *(one.at for one in batch)]
        in_order = in_order and times == sorted(times)
        newest = times[-1]
        if len(batch) == BATCH:
            yield Done(newest if in_order else begin, can_stop=in_order and newest > begin)
    yield Done(None)


def _levels(services: ReconciliationServices, report: Report) -> Iterator[Done]:
    after = report.get("place") or ""
    while after is not None:
        found = services.audit.levels(after, PRODUCTS)
        _add_candidates(services, report, check_levels(found.levels, found.sums))
        after = found.last
        yield Done(after, {"products": len(found.levels)})


def _orders(services: ReconciliationServices, report: Report) -> Iterator[Done]:
    first, last = first_and_last(report)
    after = report.get("place") or first
    while after < last:
        all_records, after = services.audit.read_range(after, last, BATCH, report["scopes"], report["id"])
        found = check(services, all_records, report["scopes"])
        _add_candidates(services, report, found.differences)
        checked = {
            "orders": sum(records.order is not None for records in all_records),
            "payments": sum(len(records.payments) for records in all_records),
        }
        yield Done(after if after < last else None, checked, too_early=found.too_early)
    if first >= last:
        yield Done(None)


def _recheck_candidates(services: ReconciliationServices, report: Report) -> Iterator[Done]:
    while candidates := services.reports.candidates(report["id"], CANDIDATES):
        if not report.get("place"):
            time.sleep(GRACE)
        recheck(services, report, candidates)
        yield Done("begun")
    yield Done(None)


_END = "end"
# The phases in their order, and the scopes that need each. The names are stored in reports.
_PHASES: dict[str, Callable[[ReconciliationServices, Report], Iterator[Done]]] = {
    "payments": _stage_payments,
    "levels": _levels,
    "orders": _orders,
    "second look": _recheck_candidates,
}
_WANTED: dict[str, frozenset[str]] = {
    "payments": frozenset({"payments"}),
    "levels": frozenset({"stock"}),
    "orders": frozenset(SCOPES),
    "second look": frozenset(SCOPES),
}


def _end(services: ReconciliationServices, claimed: Claimed) -> None:
    services.reports.end(claimed, services.clock())
    _drop_staging(services)
    report = claimed.report
    record = log.warning if report["found"] else log.info
    record(
        "reconciled",
        report_id=report["id"],
        unjudged=report.get("unjudged", 0),
        found=report["found"],
        repaired=report["repaired"],
    )


def _drop_staging(services: ReconciliationServices) -> None:
    staged = services.audit.staging_reports()
    running = {report["id"] for report in services.reports.running()}
    services.audit.drop_staging(staged - running)


def _add_candidates(
    services: ReconciliationServices, report: Report, differences: Iterable[Difference]
) -> None:
    services.reports.add_candidates(report["id"], differences, services.clock())
