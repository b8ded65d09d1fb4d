"""The operations on refunds: request a refund, read it, retry a failed one."""

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
from app.orders.reading import reads_order
from app.orders.refunds import Refund, RefundLine, next_id, returned
from app.orders.service import found, get_order, history
from app.orders.states import CAPTURED
from app.orders.store import RefundKey


class RefundDraft(TypedDict):
    """A client's request for a refund, with `amount` in major units.

    Without `amount`, the refund is for the price of its products. Without products, it is for the whole
    refundable amount.
    """

    amount: NotRequired[Decimal]
    reason: NotRequired[str]
    products: NotRequired[list[RefundLine]]


class OrderRefund(NamedTuple):
    """A refund with its order, as of the request. If `replayed`, an earlier call with the same key requested
    it."""

    order: Order
    refund: Refund
    replayed: bool = False


@reads_order
def request_refund(
    services: OrderServices, order_id: str, draft: RefundDraft, *, actor: str, key: str | None, digest: str
) -> OrderRefund:
    """Requests a refund. The money is reserved at once and returned in the background.

    Concurrent refunds together never exceed the captured amount. If several calls have the same key and
    digest, one requests the refund and the others return it. Raises NotFound, NotRefundable, RefundTooLarge,
    TooManyRefunds, InvalidInput, IdempotencyKeyReused, HistoryFull.
    """
    while True:
        order = found(services.store.with_tail(order_id))
        # The order is read before its key. If another call uses the key in between, the compare-and-set
        # fails.
        if key and (earlier := services.store.refund_under_key(order["id"], actor, key)):
            return _replay(services, earlier, digest, order["id"])
        data = _checked(order, draft)
        change = Change("refund.requested", {"refundId": next_id(order["id"], _refunds(order)), **data})
        after = advance(order, services.clock(), actor, [change], "refund")
        refund = after["refunds"][-1]
        under = RefundKey(actor, key, digest, refund["id"]) if key else None
        if services.store.append(order, after, services.due_by(), under):
            return OrderRefund(after, refund)


@reads_order
def get_refund(services: OrderServices, order_id: str, refund_id: str) -> OrderRefund:
    """A refund of an order in its present state. Raises NotFound."""
    order = get_order(services, order_id)
    return OrderRefund(order, _refund(order, refund_id))


@reads_order
def retry_refund(services: OrderServices, order_id: str, refund_id: str, *, actor: str) -> OrderRefund:
    """Retries a failed refund, even of a deleted order.

    The refund has to fit into the refundable amount; for a cancelled order it is cut to that amount. Raises
    NotFound, RefundNotFailed, TooManyRetries, RefundTooLarge, HistoryFull, InvalidInput if another refund has
    covered its products meanwhile.
    """
    while True:
        order = found(services.store.with_tail(order_id, deleted=True))
        refund = _refund(order, refund_id)
        if refund["status"] != "failed":
            raise RefundNotFailed(f"The refund is {refund['status']}. Only a failed refund can be retried.")
        if refund["attempt"] > MOST_RETRIES:
            raise TooManyRetries(
                f"The refund was retried {MOST_RETRIES} times. Refund it at the payment provider, which"
                " reports it to this service."
            )
        data: dict[str, object] = {"refundId": refund_id}
        if order["status"] == "cancelled" and 0 < (left := refundable(order)) < refund["amount"]:
            data["amount"] = left
        else:
            _require_left(order, refund["amount"])
        _require_goods(order, refund.get("products", ()))
        change = Change("refund.retried", data)
        after = advance(order, services.clock(), actor, [change], "retry")
        if services.store.append(order, after, services.due_by()):
            return OrderRefund(after, _refund(after, refund_id))


@reads_order
def failed_refunds(services: OrderServices, order_id: str) -> list[Refund]:
    """The failed refunds of an order, the largest first. Finds deleted orders, too. Raises NotFound."""
    order = found(services.store.with_tail(order_id, deleted=True))
    failed = [refund for refund in _refunds(order) if refund["status"] == "failed"]
    return sorted(failed, key=lambda refund: refund["amount"], reverse=True)


def _checked(order: Order, draft: RefundDraft) -> dict[str, object]:
    """The event's data for the draft. Raises if the order does not allow the refund."""
    if order["payment"]["status"] not in (*CAPTURED, "refunded"):
        raise NotRefundable(
            f"The payment is {order['payment']['status']}. Only captured money can be refunded."
        )
    if len(_refunds(order)) >= MOST_REFUNDS:
        raise TooManyRefunds(f"An order can have at most {MOST_REFUNDS} refunds.")
    lines = draft.get("products", [])
    if len(lines) + sum(len(refund.get("products", ())) for refund in _refunds(order)) > MOST_REFUND_LINES:
        raise TooManyRefunds(f"All refunds of an order can have at most {MOST_REFUND_LINES} lines together.")
    _require_goods(order, lines)
    amount = _amount(order, draft.get("amount"), lines)
    _require_left(order, amount)
    data: dict[str, object] = {"amount": amount}
    if "reason" in draft:
        data["reason"] = draft["reason"]
    if lines:
        data["products"] = lines
    return data


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
            raise InvalidInput(
                Fault("/amount", f"is required because {line['productId']} has no single unitPrice")
            )
        costs += price * line["quantity"]
    if not costs:
        raise InvalidInput(Fault("/amount", "is required because these products cost nothing"))
    return costs


def _require_left(order: Order, amount: int) -> None:
    if amount > (left := refundable(order)):
        raise RefundTooLarge(left, order["currency"])


def _require_goods(order: Order, lines: Sequence[RefundLine]) -> None:
    """Raises InvalidInput if all refunds together would cover more of a product than was ordered."""
    left = quantities(order)
    for product, quantity in returned(_refunds(order)).items():
        left[product] -= quantity
    faults = []
    for index, line in enumerate(lines):
        product = line["productId"]
        if product not in left:
            faults.append(Fault(f"/products/{index}/productId", "must be a product of the order"))
            continue
        if line["quantity"] > left[product]:
            detail = f"must be at most {left[product]}, which is left of the product"
            faults.append(Fault(f"/products/{index}/quantity", detail))
        left[product] -= line["quantity"]
    if faults:
        raise InvalidInput(*faults)


def _replay(services: OrderServices, earlier: RefundKey, digest: str, order_id: str) -> OrderRefund:
    """The refund as it was right after its request."""
    if earlier.digest != digest:
        raise IdempotencyKeyReused("The Idempotency-Key was used before with a different body.")
    order = history(services, order_id)
    requested = next(
        event
        for event in order["events"]
        if event["type"] == "refund.requested" and event["data"]["refundId"] == earlier.refund_id
    )
    past = fold(order_id, order["events"][: requested["sequence"]])
    return OrderRefund(past, past["refunds"][-1], replayed=True)


def _refunds(order: Order) -> list[Refund]:
    return order.get("refunds", [])


def _refund(order: Order, refund_id: str) -> Refund:
    for refund in _refunds(order):
        if refund["id"] == refund_id:
            return refund
    raise NotFound("The refund does not exist.")
