"""The operations on refunds: request a refund, read it, retry a failed one."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NotRequired, TypedDict

from app.errors import (
    Fault,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    NothingToRefund,
    NotRefundable,
    RefundNotFailed,
    RefundTooLarge,
    TooManyRetries,
)
from app.money import to_minor
from app.orders import OrderServices
from app.orders.beside_store import Beside, RefundKey
from app.orders.bounds import MOST_RETRIES, require_room_for_refund
from app.orders.commands import found
from app.orders.history import as_of
from app.orders.model import Change, Order, advance, refundable
from app.orders.pieces import is_by_lines, refunded, shares, unclaimed
from app.orders.reading import reads_order
from app.orders.refunds import Refund, RefundLine, next_id
from app.orders.service import get_order, history
from app.orders.states import CAPTURED

# A refund with one of these gives back what is left, if that is less than its amount.
_OWED = ("cancellationId", "returnId")


class RefundLineDraft(TypedDict):
    """A line of a client's request for a refund, by its number or by its product."""

    line: NotRequired[int]
    productId: NotRequired[str]
    quantity: int
    restock: bool


class RefundDraft(TypedDict):
    """A client's request for a refund, with `amount` in major units.

    Without `amount`, the refund is for what its products and the shipping cost. Without these, it is for the
    whole refundable amount. `shipping` returns the shipping of the whole order.
    """

    amount: NotRequired[Decimal]
    reason: NotRequired[str]
    products: NotRequired[list[RefundLineDraft]]
    shipping: NotRequired[bool]


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
    digest, one requests the refund and the others return it. Raises NotFound, NotRefundable, NothingToRefund,
    RefundTooLarge, TooManyRefunds, InvalidInput, IdempotencyKeyReused, HistoryFull.
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
        if services.store.append(order, after, services.due_by(), Beside(refund_key=under)):
            return OrderRefund(after, refund)


@reads_order
def get_refund(services: OrderServices, order_id: str, refund_id: str) -> OrderRefund:
    """A refund of an order in its present state. Raises NotFound."""
    order = get_order(services, order_id)
    return OrderRefund(order, _refund(order, refund_id))


@reads_order
def retry_refund(services: OrderServices, order_id: str, refund_id: str, *, actor: str) -> OrderRefund:
    """Retries a failed refund, even of a deleted order.

    An amount that the service computed is computed anew. The refund has to fit into the refundable amount.
    For a cancelled order, a part cancellation or a return it is cut to that amount. Raises NotFound,
    RefundNotFailed, TooManyRetries, NothingToRefund, RefundTooLarge, HistoryFull, InvalidInput if another
    refund has covered its pieces.
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
        _require_pieces(order, refund)
        amount = _computed(order, refund) if "computed" in refund else refund["amount"]
        is_owed = order["status"] == "cancelled" or not refund.keys().isdisjoint(_OWED)
        if is_owed and 0 < (left := refundable(order)) < amount:
            amount = left
        _require_left(order, amount)
        other = {"amount": amount} if amount != refund["amount"] else {}
        change = Change("refund.retried", {"refundId": refund_id, **other})
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
    drafts = draft.get("products", [])
    _require_room(order, len(drafts))
    asked: Any = {"reason": draft["reason"]} if "reason" in draft else {}
    faults: list[Fault] = []
    if drafts:
        asked["products"] = _lines(order, drafts, faults)
    if draft.get("shipping"):
        asked["shipping"] = True
        if any("shipping" in refund for refund in _refunds(order)):
            faults.append(Fault("/shipping", "must not be true, because another refund returns the shipping"))
    if "amount" in draft:
        try:
            asked["amount"] = to_minor(draft["amount"], order["currency"])
        except ValueError as error:
            faults.append(Fault("/amount", str(error)))
    elif unpriced := _unpriced(order, asked):
        faults.append(Fault("/amount", f"is required because line {unpriced} has no unitPrice"))
    if faults:
        raise InvalidInput(*faults)
    if "amount" not in draft:
        asked |= {"amount": _computed(order, asked), "computed": True}
    _require_left(order, asked["amount"])
    return asked


def _require_room(order: Order, lines: int) -> None:
    """Raises NotRefundable, TooManyRefunds if the order cannot have another refund with so many lines."""
    if order["payment"]["status"] not in (*CAPTURED, "refunded"):
        raise NotRefundable(
            f"The payment is {order['payment']['status']}. Only captured money can be refunded."
        )
    require_room_for_refund(order, lines)


def _lines(order: Order, drafts: Sequence[RefundLineDraft], faults: list[Fault]) -> list[RefundLine]:
    """The lines of a refund that are right. Adds a fault for each of the others."""
    lines, left = order["products"], unclaimed(order, refunded(order))
    found: list[RefundLine] = []
    for index, draft in enumerate(drafts):
        where = f"/products/{index}"
        if "line" in draft:
            numbers = [draft["line"]] if draft["line"] <= len(lines) else []
            where, unknown = f"{where}/line", f"must be a line of the order, from 1 to {len(lines)}"
        else:
            product = draft["productId"]
            numbers = [number for number, line in enumerate(lines, 1) if line["productId"] == product]
            where, unknown = f"{where}/productId", "must be a product of the order"
        if len(numbers) != 1:
            several = f"is on several lines ({', '.join(map(str, numbers))}), so give the line instead"
            faults.append(Fault(where, several if numbers else unknown))
            continue
        (number,) = numbers
        pieces, product = draft["quantity"], lines[number - 1]["productId"]
        if pieces > left[number - 1]:
            detail = f"must be at most {left[number - 1]}, which is left of the line"
            faults.append(Fault(f"/products/{index}/quantity", detail))
            continue
        left[number - 1] -= pieces
        found.append({"line": number, "productId": product, "quantity": pieces, "restock": draft["restock"]})
    return found


def _unpriced(order: Order, asked: Refund) -> int | None:
    """The number of the first line of a refund that has no price; None if all have one."""
    numbers = (line["line"] for line in asked.get("products", ()))
    return next((number for number in numbers if "unitPrice" not in order["products"][number - 1]), None)


def _computed(order: Order, refund: Refund) -> int:
    """The amount that the service computes for a refund. Raises NothingToRefund if it is 0 or less."""
    if is_by_lines(refund):
        others = _refunds(order)
        present = others if refund in others else [*others, refund]
        amount = shares({**order, "refunds": present})[present.index(refund)]
    else:
        amount = refundable(order)
    if amount <= 0:
        raise NothingToRefund("The refund comes to nothing.")
    return amount


def _require_left(order: Order, amount: int) -> None:
    if amount > (left := refundable(order)):
        raise RefundTooLarge(left, order["currency"])


def _require_pieces(order: Order, refund: Refund) -> None:
    """Raises InvalidInput if other refunds have covered the pieces of a failed one.

    That is possible only if an earlier release recorded the failure. Then the refund did not keep its pieces.
    """
    pairs = [*zip(_refunds(order), refunded(order), strict=True)]
    left = unclaimed(order, [own for other, own in pairs if other["status"] != "failed"])
    for some in (some for other, own in pairs if other is refund for some in own):
        left[some.line - 1] -= some.quantity
        if left[some.line - 1] < 0:
            raise InvalidInput(Fault("/products", f"has pieces of line {some.line} that were refunded since"))


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
    past = as_of(order, requested["sequence"])
    return OrderRefund(past, past["refunds"][-1], replayed=True)


def _refunds(order: Order) -> list[Refund]:
    return order.get("refunds", [])


def _refund(order: Order, refund_id: str) -> Refund:
    for refund in _refunds(order):
        if refund["id"] == refund_id:
            return refund
    raise NotFound("The refund does not exist.")
