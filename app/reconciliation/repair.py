"""The repairs that are safe to make: each does, by the usual road, what the books leave no doubt of."""

from collections.abc import Callable, Sequence

from app.feed.store import Entry
from app.orders.model import CAPTURED, Change, Order, advance, refundable
from app.orders.refunds import next_id
from app.orders.service import cancellation
from app.payments.settle import LEFT, settle
from app.reconciliation.kinds import Noted
from app.reconciliation.records import ADOPTED_BY
from app.shop import Shop
from app.webhooks.delivery import record_deliveries

ACTOR = "reconciliation"


def _settle_payment(shop: Shop, noted: Noted, order: Order) -> bool:
    return settle(shop, order, noted["ids"].get("reference")) != LEFT


def _give_rest_back(shop: Shop, noted: Noted, order: Order) -> bool:
    if order["payment"]["status"] not in CAPTURED:
        return _settle_payment(shop, noted, order)
    asked = {
        "refundId": next_id(order["id"], order.get("refunds", ())),
        "amount": refundable(order),
        "reason": "The order was cancelled.",
    }
    return _append(shop, order, [Change("refund.requested", asked)])


def _make_due(shop: Shop, noted: Noted, order: Order) -> bool:
    shop.duties.make_due(order["id"], shop.clock())
    return True


def _expire(shop: Shop, noted: Noted, order: Order) -> bool:
    return _append(shop, order, cancellation(order, "expired"))


def _announce_from_the_start(shop: Shop, noted: Noted, order: Order) -> bool:
    adopted = sum(event["actor"] == ADOPTED_BY for event in order["events"])
    return shop.duties.announce_again(order, adopted, shop.clock())


def _announce_missing(shop: Shop, noted: Noted, order: Order) -> bool:
    return shop.duties.announce_again(order, noted["ids"]["sequence"] - 1, shop.clock())


def _record_delivery(shop: Shop, noted: Noted, order: Order) -> bool:
    event = order["events"][noted["ids"]["sequence"] - 1]
    return noted["ids"]["endpointId"] in record_deliveries(shop, [(order, event)])


def _feed_rest(shop: Shop, noted: Noted, order: Order) -> bool:
    rest = order["events"][noted["ids"]["sequence"] - 1 :]
    shop.feed.append([Entry(order["id"], event["sequence"], event["type"]) for event in rest])
    return True


def _append(shop: Shop, order: Order, changes: Sequence[Change]) -> bool:
    return shop.orders.append(order, advance(order, shop.clock(), ACTOR, changes), shop.due_by())


# By the kind of the difference; each says whether it is done.
REPAIRS: dict[str, Callable[[Shop, Noted, Order], bool]] = {
    "payment_ahead": _settle_payment,
    "authorization_lost": _settle_payment,
    "authorization_open": _settle_payment,
    "captured_on_cancelled": _give_rest_back,
    "refund_unknown": _settle_payment,
    "overdue": _make_due,
    "forgotten": _make_due,
    "expiry_overdue": _expire,
    "announced_ahead": _announce_from_the_start,
    "announcement_missing": _announce_missing,
    "delivery_missing": _record_delivery,
    "feed_behind": _feed_rest,
}
