"""What each command on a return does to its order: the changes, or a refusal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from app.errors import Fault, InvalidInput, NotFound
from app.orders.bounds import require_room_for_refund
from app.orders.goods import LinePieces, Return, next_id, summed
from app.orders.goods_fields import ON_APPROVAL, ON_RECEIPT
from app.orders.log import Event
from app.orders.model import Change, Order
from app.orders.pieces import amount_fault, refund_of, required_amount
from app.orders.returns import require, require_approved
from app.returns.model import (
    beyond,
    by_line,
    is_complete,
    require_announceable,
    require_receivable,
    require_room,
    require_room_for_receipt,
)


def find(order: Order, return_id: str | None) -> Return:
    """The return of the order with this id. Raises NotFound."""
    for one in order.get("returns", ()):
        if one["id"] == return_id:
            return one
    raise NotFound("The return does not exist.")


def announced(
    order: Order,
    draft: Mapping[str, Any],
    now: datetime,
    window: timedelta | None,
    log: Iterable[Event] = (),
) -> Change:
    """The announcement of a return. `window` and `log` are as in `require_announceable`.

    Raises InvalidInput, NothingReturnable, NotDelivered, TooLate, TooManyReturns.
    """
    products = draft["products"]
    _require_lines(order, products)
    require_announceable(order, products, now, window, log)
    require_room(order, products, draft.get("note", ""))
    return_id = next_id(order, "r", order.get("returns", ()))
    return Change("return.requested", {"refund": ON_RECEIPT, **draft, "returnId": return_id})


def approved(order: Order, one: Return, amount: Decimal | None) -> list[Change]:
    """The approval, with the refund that it requests; empty if the return is approved.

    `amount` is for pieces without a price. Raises IllegalTransition, InvalidInput, RefundTooLarge,
    TooManyRefunds.
    """
    if one["status"] == "approved":
        return []
    require(one, "approved")
    refund = _refund(order, one, one["products"] if one["refund"] == ON_APPROVAL else [], amount)
    return [Change("return.approved", {"returnId": one["id"], **_paid(refund)}), *refund]


def ended(one: Return, status: str, reason: str | None = None) -> list[Change]:
    """The rejection, the cancellation or the close; empty if the return has the status. Raises
    IllegalTransition."""
    if one["status"] == status:
        return []
    require(one, status)
    rejection = {"rejection": {"reason": reason}} if reason is not None else {}
    return [Change(f"return.{status}", {"returnId": one["id"], **rejection})]


def received(order: Order, one: Return, draft: Mapping[str, Any]) -> list[Change]:
    """The receipt of a parcel, with the refund that it requests. The return closes once it is complete.

    Raises IllegalTransition, InvalidInput, NothingReturnable, RefundTooLarge, TooManyRefunds, TooManyReturns.
    """
    require_approved(one)
    products = draft["products"]
    _require_lines(order, products, "condition")
    pieces = by_line(order, products)
    require_receivable(order, pieces)
    require_room_for_receipt(order, len(products))
    more = beyond(order, one, pieces)
    refund = _refund(
        order, one, {ON_RECEIPT: pieces, ON_APPROVAL: more}.get(one["refund"], []), draft.get("amount")
    )
    data = {"returnId": one["id"], "receipt": len(one["receipts"]) + 1, "products": products}
    data |= {"unannounced": more} if more else {}
    closed = ended(one, "closed") if is_complete(order, one, pieces) else []
    return [Change("return.received", {**data, **_paid(refund)}), *refund, *closed]


def _require_lines(order: Order, products: Sequence[Mapping[str, Any]], *names: str) -> None:
    """Raises InvalidInput if a line is unknown, or stands there twice with the same values of `names`."""
    most, faults = len(order["products"]), []
    seen: set[tuple[Any, ...]] = set()
    for position, entry in enumerate(products):
        key = (entry["line"], *(entry[name] for name in names))
        if entry["line"] > most:
            faults.append(
                Fault(f"/products/{position}/line", f"must be a line of the order, from 1 to {most}")
            )
        elif key in seen:
            with_same = f" with the same {' and '.join(names)}" if names else ""
            faults.append(Fault(f"/products/{position}/line", f"must not be given twice{with_same}"))
        seen.add(key)
    if faults:
        raise InvalidInput(*faults)


def _refund(
    order: Order, one: Return, products: Sequence[LinePieces], amount: Decimal | None
) -> list[Change]:
    """The request of the refund of these pieces, as far as they are not paid back yet; empty if nothing is
    given back."""
    if amount is not None and not products:
        raise InvalidInput(Fault("/amount", "must not be given, because this refunds no pieces"))
    wanted = summed(order, [{"products": [*products]}])
    if faults := amount_fault(order, wanted, amount):
        raise InvalidInput(*faults)
    refund = refund_of(order, wanted, required_amount(order, wanted, amount), returnId=one["id"])
    if refund is None:
        return []
    require_room_for_refund(order, len(refund.data["products"]))
    return [refund]


def _paid(refunds: Sequence[Change]) -> dict[str, Any]:
    """The refund and its amount, as the event shows them that sets it in motion."""
    return {name: refund.data[name] for refund in refunds for name in ("refundId", "amount")}
