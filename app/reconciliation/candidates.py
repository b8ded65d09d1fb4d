"""Judges orders by all the books at once, and what is suspected once more by what is there then."""

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
from app.reconciliation import ReconciliationServices, audit_orders, audit_payments, audit_stock
from app.reconciliation.kinds import KINDS, Difference, Noted, Report, Scope
from app.reconciliation.records import Dossier, Look
from app.reconciliation.repair import REPAIRS
from app.webhooks import model as webhooks

log = structlog.get_logger()

_ORDER_ID = re.compile("[0-9a-f]{24}")

_AUDITS: dict[Scope, Callable[[Dossier, Look], Iterator[Difference]]] = {
    "payments": audit_payments.differences,
    "stock": audit_stock.differences,
    "orders": audit_orders.differences,
}


# After which moment an order can be judged.
_JUDGED_FROM: dict[Scope, Callable[[Order, Look], datetime]] = {
    "payments": audit_payments.judged_from,
    "stock": lambda order, look: look.rests_from(order),
    "orders": lambda order, look: look.rests_from(order),
}


class Judged(NamedTuple):
    """The differences of some orders. Of each order that could not be judged in full, since it has changed a
    moment ago, `too_early` has the moment after which it can be."""

    differences: list[Difference]
    too_early: list[datetime]


def judged(services: ReconciliationServices, dossiers: Sequence[Dossier], scopes: Sequence[Scope]) -> Judged:
    """Judges these orders; one that cannot be read spoils it for no other."""
    purged = services.orders.purged.among([dossier.order_id for dossier in dossiers if dossier.order is None])
    # An order that cannot be read here is judged so below.
    untouched = each_apart(dossiers, audit_stock.untouched, lambda *_: None)
    look = Look(
        now=services.clock(),
        step_deadline=services.settings.step_deadline,
        order_expiry=services.settings.order_expiry,
        kept_since=services.clock() - timedelta(days=services.settings.retention_days),
        is_fed=services.changes.place() is not None,
        tracked_since=services.audit.first_movements(set().union(*untouched)) if "stock" in scopes else {},
        endpoints=services.webhooks.endpoints.enabled() if "orders" in scopes else (),
        deliveries_since=webhooks.kept_since(services.clock(), services.settings.delivery_retention_days),
    )
    result = Judged([], [])
    for dossier in dossiers:
        if dossier.order_id in purged:
            continue
        try:
            with reading(dossier.order_id):
                if dossier.order and "orders" in scopes:
                    public.order(dossier.order)
                differences = [found for scope in scopes for found in _AUDITS[scope](dossier, look)]
                if dossier.order:
                    moment = max(_JUDGED_FROM[scope](dossier.order, look) for scope in scopes)
                    if moment >= look.now:
                        result.too_early.append(moment)
        except OrderUnreadable as unreadable:
            found = type(unreadable.__cause__).__name__
            ids = {"orderId": dossier.order_id}
            differences = [Difference("order_unreadable", ids, "a readable order", found)]
        result.differences.extend(differences)
    return result


def look_again(services: ReconciliationServices, report: Report, suspected: Sequence[Noted]) -> None:
    """Judges these anew, by what is there now; forgets those that do not stand, and repairs where asked."""
    dossiers = _read_again(services, report, suspected)
    again: dict[tuple[Any, ...], Difference] = {}
    for found in _differences_now(services, report, suspected, dossiers):
        again[_key(found.kind, found.ids, found.version)] = found
    acquitted = []
    for noted in suspected:
        standing = again.get(_key(noted["kind"], noted["ids"], noted["version"]))
        if standing is None:
            acquitted.append(noted["id"])
            continue
        services.reports.convict(noted["id"], standing)
        if report["repair"] and KINDS[noted["kind"]].safe:
            _repair(services, noted, dossiers[noted["ids"]["orderId"]])
    services.reports.acquit(acquitted)


def _differences_now(
    services: ReconciliationServices,
    report: Report,
    suspected: Sequence[Noted],
    dossiers: Mapping[str, Dossier],
) -> Iterator[Difference]:
    yield from judged(services, list(dossiers.values()), report["scopes"]).differences
    for noted in suspected:
        ids = noted["ids"]
        if "orderId" not in ids:
            found = services.audit.level(ids["productId"])
            yield from audit_stock.of_levels(found.levels, found.sums)
        elif ids["orderId"] not in dossiers:
            # A payment whose order id is none: there is nothing that could have come about since.
            yield Difference(noted["kind"], ids, noted["expected"], noted["found"])


def _read_again(
    services: ReconciliationServices, report: Report, suspected: Sequence[Noted]
) -> dict[str, Dossier]:
    by_order = defaultdict(set)
    for noted in suspected:
        order_id = noted["ids"].get("orderId", "")
        if _ORDER_ID.fullmatch(order_id):
            by_order[order_id].add(KINDS[noted["kind"]].scope)
    dossiers = services.audit.dossiers(list(by_order), report["scopes"])
    for order_id, scopes in by_order.items():
        if "payments" in scopes:
            dossiers[order_id].payments = _payments_now(services, report, dossiers[order_id])
    return dossiers


def _payments_now(
    services: ReconciliationServices, report: Report, dossier: Dossier
) -> list[ProviderPayment]:
    """What the provider says now of the payment of an order, and of all others that it told of."""
    asked = {
        one.reference: Charge(one.order_id, one.amount, one.currency, None, one.at, one.reference)
        for one in services.audit.gathered(report["id"], dossier.order_id)
    }
    # An order that cannot be read is a difference of its own.
    with suppress(OrderUnreadable), reading(dossier.order_id):
        if dossier.order:
            own = charge(dossier.order)
            asked[own.reference or ""] = own
    found = [payment for one in asked.values() if (payment := services.payments.provider.find(one))]
    return list({payment.reference: payment for payment in found}.values())


def _repair(services: ReconciliationServices, noted: Noted, dossier: Dossier) -> None:
    try:
        if dossier.order and REPAIRS[noted["kind"]](services, noted, dossier.order):
            services.reports.note_repair(noted["id"])
    except (DatabaseUnavailable, ProviderUnavailable):
        raise
    except Exception:
        log.exception("difference cannot be repaired", kind=noted["kind"], order_id=dossier.order_id)


def _key(kind: str, ids: Mapping[str, Any], version: int) -> tuple[Any, ...]:
    return kind, version, *ids.values()
