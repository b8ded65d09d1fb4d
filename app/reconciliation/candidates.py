"""Compares each order with every ledger, then re-checks the candidates."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog

from app.apart import each_apart
from app.errors import DatabaseUnavailable, OrderUnreadable, ProviderUnavailable
from app.orders import public
from app.orders.model import Order
from app.orders.reading import reading
from app.payments.model import Charge, ProviderPayment
from app.payments.steps import charge
from app.reconciliation import ReconciliationServices, payment_checks, stock_checks
from app.reconciliation.kinds import KINDS
from app.reconciliation.records import AuditContext, Case, Level, OrderRecords
from app.reconciliation.report import Difference, Report, ReportedDifference, Scope
from app.stock.model import MOST_ON_HAND
from app.webhooks import model as webhooks

log = structlog.get_logger()

_ORDER_ID = re.compile("[0-9a-f]{24}")

# The moment after which an order can be checked.
_CHECKABLE_FROM: dict[Scope, Callable[[Order, AuditContext], datetime]] = {
    "payments": lambda order, context: context.money_rests_from(order),
    "stock": lambda order, context: context.rests_from(order),
    "orders": lambda order, context: context.rests_from(order),
}


class Checked(NamedTuple):
    """The differences of some orders. `too_early` has one moment for each order that changed a moment ago and
    was not checked in full: the moment after which it can be."""

    differences: list[Difference]
    too_early: list[datetime]


def check(
    services: ReconciliationServices, all_records: Sequence[OrderRecords], scopes: Sequence[Scope]
) -> Checked:
    """Checks these orders. One that cannot be read does not affect the others."""
    purged = services.orders.purged.among(
        [records.order_id for records in all_records if records.order is None]
    )
    context = _context(services, all_records, scopes)
    result = Checked([], [])
    for records in all_records:
        if records.order_id in purged:
            continue
        try:
            with reading(records.order_id):
                if records.order and "orders" in scopes:
                    public.order(records.order, for_shop=True)
                differences = list(_differences(Case(records, context), scopes))
                if records.order:
                    moment = max(_CHECKABLE_FROM[scope](records.order, context) for scope in scopes)
                    if moment >= context.now:
                        result.too_early.append(moment)
        except OrderUnreadable as unreadable:
            found = type(unreadable.__cause__).__name__
            ids = {"orderId": records.order_id}
            differences = [Difference("order_unreadable", ids, "a readable order", found)]
        result.differences.extend(differences)
    return result


def recheck(
    services: ReconciliationServices, report: Report, candidates: Sequence[ReportedDifference]
) -> None:
    """Checks the candidates again with current data: confirms or discards each, and repairs if asked."""
    all_records = _read_again(services, report, candidates)
    again: dict[tuple[Any, ...], Difference] = {}
    for found in _differences_now(services, report, candidates, all_records):
        again[_key(found.kind, found.ids, found.version)] = found
    discarded = []
    for reported in candidates:
        standing = again.get(_key(reported["kind"], reported["ids"], reported["version"]))
        if standing is None:
            discarded.append(reported["id"])
            continue
        services.reports.confirm(reported["id"], standing)
        if report["repair"] and KINDS[reported["kind"]].repair:
            _repair(services, reported, all_records[reported["ids"]["orderId"]])
    services.reports.discard(discarded)


def check_levels(levels: Mapping[str, int], sums: Mapping[str, int]) -> Iterator[Difference]:
    """Compares levels with the sums of their movements, both read at the same moment."""
    for product in levels.keys() | sums.keys():
        level = Level(product, levels.get(product), sums.get(product, 0))
        for name, kind in KINDS.items():
            for finding in kind.check_level(level) if kind.check_level else ():
                yield Difference(name, *finding)


def check_orphans(payments: list[ProviderPayment]) -> Iterator[Difference]:
    """The differences of payments that name no possible order."""
    for finding in payment_checks.orphans(payments):
        yield Difference("payment_orphaned", *finding)


def _context(
    services: ReconciliationServices, all_records: Sequence[OrderRecords], scopes: Sequence[Scope]
) -> AuditContext:
    now, settings = services.clock(), services.settings
    first_movements: Mapping[str, datetime] = {}
    spare: Mapping[str, int] = {}
    if "stock" in scopes:
        # The check of an order reports that it cannot be read here.
        products = each_apart(all_records, stock_checks.without_movement, lambda *_: None)
        first_movements = services.audit.first_movements(set().union(*products))
        wanted = set[str]().union(*each_apart(all_records, stock_checks.waited_for, lambda *_: None))
        spare = services.audit.on_hand_since(now - settings.step_deadline, wanted)
        if settings.stock_policy != "strict":
            # A product that is not tracked never runs out.
            spare = {**dict.fromkeys(wanted, MOST_ON_HAND), **spare}
    return AuditContext(
        now=now,
        step_deadline=settings.step_deadline,
        order_expiry=settings.order_expiry,
        kept_since=now - timedelta(days=settings.retention_days),
        is_fed=services.changes.resume_token() is not None,
        tracked_since=first_movements,
        spare=spare,
        endpoints=services.webhooks.endpoints.enabled() if "orders" in scopes else (),
        personal_index=services.orders.search_keys.index,
        deliveries_since=webhooks.kept_since(now, settings.delivery_retention_days),
    )


def _differences(case: Case, scopes: Sequence[Scope]) -> Iterator[Difference]:
    version = case.order["version"] if case.order else 0
    for name, kind in KINDS.items():
        if kind.check and kind.scope in scopes:
            for finding in kind.check(case):
                yield Difference(name, *finding, version)


def _differences_now(
    services: ReconciliationServices,
    report: Report,
    candidates: Sequence[ReportedDifference],
    all_records: Mapping[str, OrderRecords],
) -> Iterator[Difference]:
    yield from check(services, list(all_records.values()), report["scopes"]).differences
    for reported in candidates:
        ids = reported["ids"]
        if "orderId" not in ids:
            found = services.audit.level(ids["productId"])
            yield from check_levels(found.levels, found.sums)
        elif ids["orderId"] not in all_records:
            # A payment without a valid order id: no order can appear for it, so the candidate stays.
            yield Difference(reported["kind"], ids, reported["expected"], reported["found"])


def _read_again(
    services: ReconciliationServices, report: Report, candidates: Sequence[ReportedDifference]
) -> dict[str, OrderRecords]:
    by_order = defaultdict(set)
    for reported in candidates:
        order_id = reported["ids"].get("orderId", "")
        if _ORDER_ID.fullmatch(order_id):
            by_order[order_id].add(KINDS[reported["kind"]].scope)
    all_records = services.audit.read(list(by_order), report["scopes"])
    for order_id, scopes in by_order.items():
        if "payments" in scopes:
            all_records[order_id].payments = _payments_now(services, report, all_records[order_id])
    return all_records


def _payments_now(
    services: ReconciliationServices, report: Report, records: OrderRecords
) -> list[ProviderPayment]:
    """The current state of the order's own payment and of every staged payment of the order."""
    asked = {
        one.reference: Charge(one.order_id, one.amount, one.currency, None, one.at, one.reference)
        for one in services.audit.staged(report["id"], records.order_id)
    }
    # An order that cannot be read is a difference of its own.
    with suppress(OrderUnreadable), reading(records.order_id):
        if records.order:
            own = charge(records.order)
            asked[own.reference or ""] = own
    found = [payment for one in asked.values() if (payment := services.payments.provider.find(one))]
    return list({payment.reference: payment for payment in found}.values())


def _repair(services: ReconciliationServices, reported: ReportedDifference, records: OrderRecords) -> None:
    try:
        repair = KINDS[reported["kind"]].repair
        if repair and records.order and repair(services, reported, records.order):
            services.reports.note_repair(reported["id"])
    except (DatabaseUnavailable, ProviderUnavailable):
        raise
    except Exception:
        log.exception("difference cannot be repaired", kind=reported["kind"], order_id=records.order_id)


def _key(kind: str, ids: Mapping[str, Any], version: int) -> tuple[Any, ...]:
    return kind, version, *ids.values()
