"""What a shop does with refunds: ask for one, look at them, try a failed one again."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple, NotRequired, TypedDict

from app.errors import (
    Fault,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    NotRefundable,
    RefundNotFailed,
    RefundTooLarge,
    TooManyRefunds,
    TooManyRetries,
)
from app.money import to_minor
from app.orders import OrderServices
from app.orders.bounds import MOST_REFUND_LINES, MOST_REFUNDS, MOST_RETRIES
from app.orders.model import Change, Order, advance, fold, quantities, refundable
from app.orders.refunds import Refund, RefundLine, next_id, returned
from app.orders.service import found, get_order, history
from app.orders.states import CAPTURED
from app.orders.store import RefundKey


class RefundDraft(TypedDict):
    """A refund as a client wants it, `amount` in major units; without one it is what the lines cost, and
    without lines all that is left."""

    amount: NotRequired[Decimal]
    reason: NotRequired[str]
    products: NotRequired[list[RefundLine]]


class Asked(NamedTuple):
    """The refund that a call asked for, as it was then, with its order; `replayed` when an earlier call with
    the same key had."""

    order: Order
    refund: Refund
    replayed: bool = False


def ask_refund(
    services: OrderServices, order_id: str, draft: RefundDraft, *, actor: str, key: str | None, digest: str
) -> Asked:
    """Asks for captured money back; it is reserved at once and given back in the background.

    However many ask at once, together they get no more than was captured. Of any number of calls with one key
    and digest one asks. Raises NotFound, NotRefundable, RefundTooLarge, TooManyRefunds, InvalidInput,
    IdempotencyKeyReused, HistoryFull.
    """
    while True:
        order = found(services.store.with_tail(order_id))
        # In this order: a key that comes in between makes the order move on, and the change fail.
        if key and (earlier := services.store.refund_under_key(order["id"], actor, key)):
            return _replay(services, earlier, digest, order["id"])
        told = _checked(order, draft)
        asked = Change("refund.requested", {"refundId": next_id(order["id"], _refunds(order)), **told})
        after = advance(order, services.clock(), actor, [asked], "refund")
        refund = after["refunds"][-1]
        under = RefundKey(actor, key, digest, refund["id"]) if key else None
        if services.store.append(order, after, services.due_by(), under):
            return Asked(after, refund)


def get_refund(services: OrderServices, order_id: str, refund_id: str) -> Asked:
    """A refund of an order as it is now. Raises NotFound."""
    order = get_order(services, order_id)
    return Asked(order, _refund(order, refund_id))


def retry_refund(services: OrderServices, order_id: str, refund_id: str, *, actor: str) -> Asked:
    """Asks once more for a refund that has failed, of a deleted order too: the money is owed all the same.

    It must fit into what is left; of a cancelled order it gives back what is left. Raises NotFound,
    RefundNotFailed, TooManyRetries, RefundTooLarge, HistoryFull, InvalidInput where its goods came back by
    another.
    """
    while True:
        order = found(services.store.with_tail(order_id, deleted=True))
        refund = _refund(order, refund_id)
        if refund["status"] != "failed":
            raise RefundNotFailed(f"The refund is {refund['status']}.")
        if refund["attempt"] > MOST_RETRIES:
            raise TooManyRetries(
                f"The refund was retried {MOST_RETRIES} times. Refund it at the payment provider: the service"
                " takes note of that."
            )
        told: dict[str, object] = {"refundId": refund_id}
        if order["status"] == "cancelled" and 0 < (left := refundable(order)) < refund["amount"]:
            told["amount"] = left
        else:
            _require_left(order, refund["amount"])
        _require_goods(order, refund.get("products", ()))
        asked = Change("refund.retried", told)
        after = advance(order, services.clock(), actor, [asked], "retry")
        if services.store.append(order, after, services.due_by()):
            return Asked(after, _refund(after, refund_id))


def failed_refunds(services: OrderServices, order_id: str) -> list[Refund]:
    """The failed refunds of an order, a deleted one too, the largest first. Raises NotFound."""
    order = found(services.store.with_tail(order_id, deleted=True))
    failed = [refund for refund in _refunds(order) if refund["status"] == "failed"]
    return sorted(failed, key=lambda refund: refund["amount"], reverse=True)


def _checked(order: Order, draft: RefundDraft) -> dict[str, object]:
    """What the event says of a refund that the order allows."""
    if order["payment"]["status"] not in (*CAPTURED, "refunded"):
        raise NotRefundable(f"Nothing has been captured; the payment is {order['payment']['status']}.")
    if len(_refunds(order)) >= MOST_REFUNDS:
        raise TooManyRefunds(f"An order has at most {MOST_REFUNDS} refunds.")
    lines = draft.get("products", [])
    if len(lines) + sum(len(refund.get("products", ())) for refund in _refunds(order)) > MOST_REFUND_LINES:
        raise TooManyRefunds(f"The refunds of an order have at most {MOST_REFUND_LINES} lines together.")
    _require_goods(order, lines)
    amount = _amount(order, draft.get("amount"), lines)
    _require_left(order, amount)
    told: dict[str, object] = {"amount": amount}
    if "reason" in draft:
        told["reason"] = draft["reason"]
    if lines:
        told["products"] = lines
    return told


def _amount(order: Order, stated: Decimal | None, lines: list[RefundLine]) -> int:
    if stated is not None:
        try:
            return to_minor(stated, order["currency"])
        except ValueError as error:
            raise InvalidInput(Fault("/amount", str(error))) from error
    if not lines:
        left = refundable(order)
        if not left:
            raise RefundTooLarge(left, order["currency"])
        return left
    prices: dict[str, set[int | None]] = {}
    for ordered in order["products"]:
        prices.setdefault(ordered["productId"], set()).add(ordered.get("unitPrice"))
    costs = 0
    for line in lines:
        price, *others = prices[line["productId"]]
        if price is None or others:
            raise InvalidInput(Fault("/amount", f"is required: {line['productId']} has no one unitPrice"))
        costs += price * line["quantity"]
    if not costs:
        raise InvalidInput(Fault("/amount", "is required: these products cost nothing"))
    return costs


def _require_left(order: Order, amount: int) -> None:
    if amount > (left := refundable(order)):
        raise RefundTooLarge(left, order["currency"])


def _require_goods(order: Order, lines: Sequence[RefundLine]) -> None:
    """No more goods come back than were ordered, the refunds before counted in."""
    left = quantities(order)
    for product, quantity in returned(_refunds(order)).items():
        left[product] -= quantity
    faults = []
    for index, line in enumerate(lines):
        product = line["productId"]
        if product not in left:
            faults.append(Fault(f"/products/{index}/productId", "is not a product of the order"))
            continue
        if line["quantity"] > left[product]:
            detail = f"is more than is left of it ({left[product]})"
            faults.append(Fault(f"/products/{index}/quantity", detail))
        left[product] -= line["quantity"]
    if faults:
        raise InvalidInput(*faults)


def _replay(services: OrderServices, earlier: RefundKey, digest: str, order_id: str) -> Asked:
    """The refund as it was when it was asked for."""
    if earlier.digest != digest:
        raise IdempotencyKeyReused("The key was used before with another body.")
    order = history(services, order_id)
    asked = next(
        event
        for event in order["events"]
        if event["type"] == "refund.requested" and event["data"]["refundId"] == earlier.refund_id
    )
    past = fold(order_id, order["events"][: asked["sequence"]])
    return Asked(past, past["refunds"][-1], replayed=True)


def _refunds(order: Order) -> list[Refund]:
    return order.get("refunds", [])


def _refund(order: Order, refund_id: str) -> Refund:
    for refund in _refunds(order):
        if refund["id"] == refund_id:
            return refund
    raise NotFound("There is no such refund.")
