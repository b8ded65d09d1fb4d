"""The safe repairs. Each makes an ordinary change of the service that the records leave no doubt about."""

from collections.abc import Callable, Sequence

from app.feed.store import Entry
from app.orders.model import Change, Order, advance, refundable
from app.orders.refunds import next_id
from app.orders.service import cancellation
from app.orders.states import CAPTURED
from app.payments.align import LEFT, align
from app.reconciliation import ReconciliationServices
from app.reconciliation.kinds import ReportedDifference
from app.reconciliation.records import ADOPTED_BY
from app.webhooks.delivery import record_deliveries

ACTOR = "reconciliation"


def _align_payment(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    return align(services.payments, order, reported["ids"].get("reference")) != LEFT


def _give_rest_back(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    if order["payment"]["status"] not in CAPTURED:
        return _align_payment(services, reported, order)
    asked = {
        "refundId": next_id(order["id"], order.get("refunds", ())),
        "amount": refundable(order),
        "reason": "The order was cancelled.",
    }
    return _append(services, order, [Change("refund.requested", asked)])


def _make_due(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    services.orders.due_work.make_due(order["id"], services.clock())
    return True


def _expire(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    return _append(services, order, cancellation(order, "expired"))


def _announce_from_the_start(
    services: ReconciliationServices, reported: ReportedDifference, order: Order
) -> bool:
    adopted = sum(event["actor"] == ADOPTED_BY for event in order["events"])
    return services.orders.due_work.announce_again(order, adopted, services.clock())


def _announce_missing(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    return services.orders.due_work.announce_again(order, reported["ids"]["sequence"] - 1, services.clock())


def _record_delivery(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    event = order["events"][reported["ids"]["sequence"] - 1]
    return reported["ids"]["endpointId"] in record_deliveries(services.webhooks, [(order, event)])


def _feed_rest(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    rest = order["events"][reported["ids"]["sequence"] - 1 :]
    services.feed.append([Entry(order["id"], event["sequence"], event["type"]) for event in rest])
    return True


def _append(services: ReconciliationServices, order: Order, changes: Sequence[Change]) -> bool:
    return services.orders.store.append(
        order, advance(order, services.clock(), ACTOR, changes), services.orders.due_by()
    )


# By kind of difference. Each returns whether the repair is done.
REPAIRS: dict[str, Callable[[ReconciliationServices, ReportedDifference, Order], bool]] = {
    "payment_ahead": _align_payment,
    "authorization_lost": _align_payment,
    "authorization_open": _align_payment,
    "captured_on_cancelled": _give_rest_back,
    "refund_unknown": _align_payment,
    "overdue": _make_due,
    "forgotten": _make_due,
    "expiry_overdue": _expire,
    "announced_ahead": _announce_from_the_start,
    "announcement_missing": _announce_missing,
    "delivery_missing": _record_delivery,
    "feed_behind": _feed_rest,
}
