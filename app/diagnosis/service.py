"""Diagnoses one order, or finds all orders in a state."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from app.diagnosis import DiagnosisServices
from app.diagnosis.model import Diagnosis, Limits, Notice, damaged, diagnose
from app.errors import OrderUnreadable
from app.orders import public
from app.orders.commands import found
from app.orders.model import Order
from app.orders.reading import reading

# How many candidates are read at once, and the most notices that one diagnosis shows.
_BATCH = 50
MOST_NOTICES = 100
# The most notifications, and the most webhooks, that are read for a page.
_MOST_READ = 20_000
# Unfinished notices first, then those that a person may have to look at.
_URGENCY = ("pending", "failed", "withheld")


class Diagnosed(NamedTuple):
    """An order's id with its diagnosis, and the order unless it is damaged."""

    order_id: str
    diagnosis: Diagnosis
    order: Order | None = None


def diagnose_order(services: DiagnosisServices, order_id: str) -> Diagnosed:
    """The diagnosis of an order. A damaged order has one, too. Raises NotFound."""
    try:
        order = found(services.orders.store.with_log(order_id))
    except OrderUnreadable:
        return Diagnosed(order_id, damaged({}, services.orders.clock()))
    return _with_notices(services, [_diagnosed(services, order)])[0]


def diagnose_all(services: DiagnosisServices, state: str, after: str | None, limit: int) -> list[Diagnosed]:
    """Up to `limit + 1` orders in the state after the id `after`, oldest first."""
    page: list[Diagnosed] = []
    for one in _all(services, state, after):
        page.append(one)
        if len(page) > limit:
            break
    return _with_notices(services, page)


def _all(services: DiagnosisServices, state: str, after: str | None) -> Iterator[Diagnosed]:
    while ids := services.candidates.of(state, after, _BATCH):
        orders = {order["id"]: order for order in services.orders.store.load_with_logs(ids)}
        for order_id in ids:
            if (order := orders.get(order_id)) and "deletedAt" not in order:
                one = _diagnosed(services, order)
                if one.diagnosis["state"] == state:
                    yield one
        after = ids[-1]


def _diagnosed(services: DiagnosisServices, order: Order) -> Diagnosed:
    now = services.orders.clock()
    limits = Limits(now, services.orders.step_deadline, services.orders.order_expiry)
    try:
        with reading(order["id"]):
            # An order that cannot be shown is damaged, even if its state can be read.
            public.order_text(order, for_shop=True)
            shown: Diagnosis = {**diagnose(order, limits), "holds": order.get("holds", [])}
            return Diagnosed(order["id"], shown, order)
    except OrderUnreadable:
        return Diagnosed(order["id"], damaged(order, now))


def _with_notices(services: DiagnosisServices, page: Sequence[Diagnosed]) -> list[Diagnosed]:
    if not page:
        return []
    ids = [one.order_id for one in page]
    notices: dict[str, list[Any]] = {order_id: [] for order_id in ids}
    for store in (services.notifications, services.deliveries):
        for order_id, notice in store.states(ids, _MOST_READ):
            notices[order_id].append(notice)
    return [
        one._replace(diagnosis={**one.diagnosis, "notifications": _urgent_first(notices[one.order_id])})
        for one in page
    ]


def _urgent_first(notices: list[Notice]) -> list[Notice]:
    ranks = {state: rank for rank, state in enumerate(_URGENCY)}
    return sorted(notices, key=lambda notice: ranks.get(notice["state"], len(ranks)))[:MOST_NOTICES]
