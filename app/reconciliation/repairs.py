"""The safe repairs. Each makes an ordinary change of the service that the records leave no doubt about."""

from collections.abc import Sequence

from app.feed.store import Entry
from app.holds.service import ends
from app.orders.model import Change, Order, advance, refundable
from app.orders.refunds import next_id
from app.orders.service import cancellation
from app.orders.states import CAPTURED
from app.orders.steps import DECREMENT_FIRST
from app.orders.sweeping import backorder_end
from app.payments.align import LEFT, align
from app.reconciliation import ReconciliationServices
from app.reconciliation.records import ADOPTED_BY
from app.reconciliation.report import ReportedDifference
from app.webhooks.delivery import record_deliveries

ACTOR = "reconciliation"


def align_payment(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Brings the order in line with its payment at the provider."""
    return align(services.payments, order, reported["ids"].get("reference")) != LEFT


def refund_rest(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Requests a refund of the captured money that is left."""
    if order["payment"]["status"] not in CAPTURED:
        return align_payment(services, reported, order)
    asked = {
        "refundId": next_id(order["id"], order.get("refunds", ())),
        "amount": refundable(order),
        "reason": "The order was cancelled.",
    }
    return _append(services, order, [Change("refund.requested", asked)])


def make_due(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Makes the due work of the order due now."""
    services.orders.due_work.make_due(order["id"], services.clock())
    return True


def correct_email_key(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Corrects the key by which the order is found by its email."""
    services.orders.search_keys.correct_email(order["id"])
    return True


def expire(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Cancels the order as expired."""
    return _append(services, order, cancellation(order, "expired"))


def end_backorder(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Cancels the order as out of stock."""
    return _append(services, order, backorder_end(order))


def take_stock(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Takes the stock for the order, unless it is gone by now."""
    present = services.orders.store.load([order["id"]])
    saved = services.orders.effects[DECREMENT_FIRST](present, ())
    return any(after["stock"]["status"] == "decremented" for one in saved for after in one.orders)


def end_holds(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Ends the holds whose time is over."""
    return _append(services, order, ends(order, services.clock()))


def announce_from_the_start(
    services: ReconciliationServices, reported: ReportedDifference, order: Order
) -> bool:
    """Announces all events of the order again; recorded announcements are not repeated."""
    adopted = sum(event["actor"] == ADOPTED_BY for event in order["events"])
    return services.orders.due_work.announce_again(order, adopted, services.clock())


def announce_missing(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Announces the events again from the missing one on."""
    return services.orders.due_work.announce_again(order, reported["ids"]["sequence"] - 1, services.clock())


def record_delivery(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Records the missing delivery as pending."""
    event = order["events"][reported["ids"]["sequence"] - 1]
    return reported["ids"]["endpointId"] in record_deliveries(services.webhooks, [(order, event)])


def append_to_feed(services: ReconciliationServices, reported: ReportedDifference, order: Order) -> bool:
    """Appends the missing events to the feed."""
    rest = order["events"][reported["ids"]["sequence"] - 1 :]
    services.feed.append([Entry(order["id"], event["sequence"], event["type"]) for event in rest])
    return True


def _append(services: ReconciliationServices, order: Order, changes: Sequence[Change]) -> bool:
    return services.orders.store.append(
        order, advance(order, services.clock(), ACTOR, changes), services.orders.due_by()
    )
