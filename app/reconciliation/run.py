"""Compares orders, money and stock, a slice at a time, so that nobody is held up and anyone can go on.

Suspicions are collected first and looked at again in the end: whatever was only under way has come to rest by
then, or has moved on and is left to the next time. What still stands is a difference.
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
from app.reconciliation import ReconciliationServices, audit_payments, audit_stock
from app.reconciliation.candidates import judged, look_again
from app.reconciliation.kinds import SCOPES, Difference, Report, Scope
from app.reconciliation.store import Claimed, ClaimLost, Progress

log = structlog.get_logger()

BATCH = 500
# A level stands for all movements that its product ever had.
PRODUCTS = 100
# Each of these may ask the provider.
SUSPECTS = 50
# Seconds between the first look and the second.
GRACE = 1.0
# Longer than any batch takes: after it the claim of a process that died is free again.
CLAIM = timedelta(minutes=2)
# How long a provider that cannot be asked is left alone.
PAUSE = timedelta(seconds=30)

_FIRST_ID = "0" * 24
_ORDER_ID = re.compile("[0-9a-f]{24}")
_EPOCH = datetime.fromtimestamp(0, UTC)
# The provider's clock may be behind ours, and count in seconds.
_SKEW = timedelta(minutes=10)


class Done(NamedTuple):
    """A batch is done: the place behind it, None at the end of the stage, and what was looked at. A place to
    which the stage could not come back is none to stop at. `too_early` is as in `Judged`."""

    place: Any
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
    """A new reconciliation of the orders made since then, or of all; `advance` does the work."""
    report = _report(services, new_id(services.clock()), scopes, since, repair=repair, scheduled=False)
    services.reports.begin(report)
    return report


def go_on(services: ReconciliationServices, seconds: float) -> None:
    """Begins what the schedule asks for, and does a slice of what is under way."""
    running = services.reports.running()
    if not any(report["scheduled"] for report in running):
        running += _begin_scheduled(services)
    if running:
        advance(services, running[0]["id"], seconds)


def advance(services: ReconciliationServices, report_id: str, seconds: float) -> bool:
    """Goes on with a reconciliation for about so long, unless somebody else does; whether it has ended.

    Raises ProviderUnavailable, DatabaseUnavailable: it can be gone on with later.
    """
    now, deadline = services.clock(), time.monotonic() + seconds
    claimed = services.reports.claim(report_id, now, now + CLAIM)
    if claimed is None:
        return get_report(services, report_id)["status"] != "running"
    try:
        while (stage := claimed.report["stage"]) != _END:
            for done in _STAGES[stage](services, claimed.report):
                following = stage if done.place is not None else _stage_after(stage, claimed.report["scopes"])
                progress = Progress(following, done.place, Counter(done.checked), done.too_early)
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
    """Ends a reconciliation that nobody is to go on with."""
    services.reports.fail(report_id, services.clock(), reason)
    _put_away(services)


def get_report(services: ReconciliationServices, report_id: str) -> Report:
    """A report. Raises NotFound."""
    report = services.reports.get(report_id)
    if report is None:
        raise NotFound("There is no such reconciliation.")
    return report


def list_reports(services: ReconciliationServices, limit: int, after: str | None) -> Page:
    """A page of the reports, newest first."""
    return page_of(services.reports.page(after, limit), limit, "id")


def list_differences(services: ReconciliationServices, report_id: str, limit: int, after: str | None) -> Page:
    """A page of what a reconciliation has found, by kind."""
    return page_of(services.reports.differences(report_id, after, limit), limit, "id")


def orders_to_check(services: ReconciliationServices, report: Report) -> int:
    """How many orders the reconciliation goes through."""
    return services.audit.count(*first_and_last(report))


def first_and_last(report: Report) -> tuple[str, str]:
    """Behind which order id a reconciliation begins, and with which it ends."""
    since = report.get("since")
    first = id_at(since) if since else _FIRST_ID
    return f"{max(0, int(first, 16) - 1):024x}", id_at(report["startedAt"])


def _begin_scheduled(services: ReconciliationServices) -> list[Report]:
    """The reconciliation of the present stretch of time, where nobody has begun it yet."""
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
        stage=_stage_after(None, asked),
    )
    if since:
        report["since"] = max(since, _EPOCH)
    return report


def _stage_after(stage: str | None, scopes: Sequence[Scope]) -> str:
    following = [name for name, wanted in _WANTED.items() if not wanted.isdisjoint(scopes)]
    return [*following, _END][following.index(stage) + 1 if stage else 0]


def _gather(services: ReconciliationServices, report: Report) -> Iterator[Done]:
    """Lays the provider's payments down by their orders.

    It can be gone on with at a time that is behind the first. Where they do not come oldest first, it cannot.
    """
    first, last = first_and_last(report)
    begin = newest = report.get("place") or max(_EPOCH, report.get("since", _EPOCH) - _SKEW)
    listed, in_order = services.payments.provider.list_since(newest), True
    while batch := list(islice(listed, BATCH)):
        ours = [one for one in batch if _ORDER_ID.fullmatch(one.order_id)]
        strange = [one for one in batch if not _ORDER_ID.fullmatch(one.order_id)]
        _suspect(services, report, map(audit_payments.orphaned, filter(audit_payments.holds_money, strange)))
        services.audit.gather(report["id"], [one for one in ours if first < one.order_id <= last])
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
        _suspect(services, report, audit_stock.of_levels(found.levels, found.sums))
        after = found.last
        yield Done(after, {"products": len(found.levels)})


def _orders(services: ReconciliationServices, report: Report) -> Iterator[Done]:
    first, last = first_and_last(report)
    after = report.get("place") or first
    while after < last:
        dossiers, after = services.audit.stretch(after, last, BATCH, report["scopes"], report["id"])
        found = judged(services, dossiers, report["scopes"])
        _suspect(services, report, found.differences)
        checked = {
            "orders": sum(dossier.order is not None for dossier in dossiers),
            "payments": sum(len(dossier.payments) for dossier in dossiers),
        }
        yield Done(after if after < last else None, checked, too_early=found.too_early)
    if first >= last:
        yield Done(None)


def _second_look(services: ReconciliationServices, report: Report) -> Iterator[Done]:
    while suspected := services.reports.suspected(report["id"], SUSPECTS):
        if not report.get("place"):
            time.sleep(GRACE)
        look_again(services, report, suspected)
        yield Done("begun")
    yield Done(None)


_END = "end"
# The stages in their order, and the scopes that each is for.
_STAGES: dict[str, Callable[[ReconciliationServices, Report], Iterator[Done]]] = {
    "payments": _gather,
    "levels": _levels,
    "orders": _orders,
    "second look": _second_look,
}
_WANTED: dict[str, frozenset[str]] = {
    "payments": frozenset({"payments"}),
    "levels": frozenset({"stock"}),
    "orders": frozenset(SCOPES),
    "second look": frozenset(SCOPES),
}


def _end(services: ReconciliationServices, claimed: Claimed) -> None:
    services.reports.end(claimed, services.clock())
    _put_away(services)
    report = claimed.report
    tell = log.warning if report["found"] else log.info
    tell(
        "reconciled",
        report_id=report["id"],
        unjudged=report.get("unjudged", 0),
        found=report["found"],
        repaired=report["repaired"],
    )


def _put_away(services: ReconciliationServices) -> None:
    laid_down = services.audit.laid_down()
    running = {report["id"] for report in services.reports.running()}
    services.audit.put_away(laid_down - running)


def _suspect(services: ReconciliationServices, report: Report, differences: Iterable[Difference]) -> None:
    services.reports.suspect(report["id"], differences, services.clock())
