"""Compares the money of an order with the payments that the provider lists."""

from collections.abc import Iterator
from datetime import datetime

from app import money
from app.orders.model import Order, refundable
from app.orders.refunds import reserved
from app.orders.states import CAPTURED
from app.payments.model import ProviderPayment
from app.reconciliation.kinds import Difference
from app.reconciliation.records import ADOPTED_METHOD, DEADLINES, AuditContext, OrderRecords

_CLOSED = ("declined", "voided")
_TAKEN = ("captured", "refunded")
# With these payment statuses of an order the provider must have a payment.
_PAID = ("authorized", *CAPTURED, "refunded")


def differences(records: OrderRecords, context: AuditContext) -> Iterator[Difference]:
    """Yields the differences. Skips an order that changed a moment ago or has a step to retry, since the
    provider may be ahead of it."""
    order = records.order
    if order is None:
        for payment in records.payments:
            if holds_money(payment):
                yield orphaned(payment)
    elif checkable_from(order, context) < context.now:
        yield from _of_order(order, records.payments)


def checkable_from(order: Order, context: AuditContext) -> datetime:
    """The moment after which the money of the order can be checked."""
    moment = context.rests_from(order, DEADLINES)
    if context.is_tried_again(order, DEADLINES):
        return max(moment, order["dueBy"] + DEADLINES * context.step_deadline)
    return moment


def orphaned(payment: ProviderPayment) -> Difference:
    """The difference of a payment without an order."""
    ids = {"orderId": payment.order_id, "reference": payment.reference}
    return Difference("payment_orphaned", ids, "an order", _standing(payment))


def holds_money(payment: ProviderPayment) -> int:
    """The money that the payment reserves or has taken, in minor units."""
    if payment.status in _TAKEN:
        return payment.captured - payment.refunded
    return payment.amount if payment.status == "authorized" else 0


def _of_order(order: Order, payments: list[ProviderPayment]) -> Iterator[Difference]:
    here, ids = order["payment"], {"orderId": order["id"]}
    own = _own(order, payments)
    for payment in payments:
        if payment is not own and holds_money(payment):
            one = {**ids, "reference": payment.reference}
            yield Difference("payment_doubled", one, "one payment", _standing(payment), order["version"])
    if here.get("method") == ADOPTED_METHOD:
        return
    if own is None:
        if here["status"] in _PAID and order["totalAmount"]:
            yield Difference("payment_missing", ids, here["status"], "no payment", order["version"])
    elif found := _fault(order, own):
        kind, expected = found
        one = {**ids, "reference": own.reference}
        yield Difference(kind, one, expected, _standing(own), order["version"])


def _own(order: Order, payments: list[ProviderPayment]) -> ProviderPayment | None:
    """The payment with the order's reference; before the order has one, the payment with the most money."""
    if "reference" in order["payment"]:
        reference = order["payment"]["reference"]
        return next((payment for payment in payments if payment.reference == reference), None)
    return max(payments, key=holds_money, default=None)


def _fault(order: Order, there: ProviderPayment) -> tuple[str, str] | None:
    """The first kind that applies, and the expected value."""
    here = order["payment"]
    is_open = there.status not in _CLOSED
    if is_open and there.currency.upper() != order["currency"]:
        return "payment_currency_differs", order["currency"]
    if is_open and there.amount != order["totalAmount"]:
        return "payment_amount_differs", _text(order["totalAmount"], order)
    if here["status"] in ("captured", "partially_refunded", "refunded"):
        return _fault_of_captured(order, there)
    has_ended = order["status"] != "pending"
    if there.status == "authorized":
        if has_ended:
            return "authorization_open", "closed"
        return ("payment_ahead", here["status"]) if here["status"] == "pending" else None
    if there.status in _TAKEN and there.captured > there.refunded:
        return ("captured_on_cancelled", "given back") if has_ended else ("payment_ahead", here["status"])
    if here["status"] == "authorized" and there.status in _CLOSED and not has_ended:
        return "authorization_lost", "authorized"
    return None


def _fault_of_captured(order: Order, there: ProviderPayment) -> tuple[str, str] | None:
    captured, refunded = order["payment"]["capturedAmount"], order["payment"]["refundedAmount"]
    if there.status not in _TAKEN or there.captured != captured:
        return "captured_differs", f"captured {_text(captured, order)}"
    if there.refunded > refunded + reserved(order.get("refunds", ())):
        return "refund_unknown", f"refunded {_text(refunded, order)}"
    if there.refunded < refunded:
        return "refund_missing", f"refunded {_text(refunded, order)}"
    if order["status"] == "cancelled" and (left := refundable(order)):
        has_failed = any(refund["status"] == "failed" for refund in order.get("refunds", ()))
        kind = "cancelled_refund_failed" if has_failed else "captured_on_cancelled"
        return kind, f"{_text(left, order)} given back"
    return None


def _text(amount: int, order: Order) -> str:
    return f"{money.to_text(amount, order['currency'])} {order['currency']}"


def _standing(payment: ProviderPayment) -> str:
    currency = payment.currency.upper()

    def text(amount: int) -> str:
        return money.to_text(amount, currency) if currency in money.DECIMALS else str(amount)

    shown = f"{payment.status}, {text(payment.amount)} {currency}"
    if payment.captured:
        shown += f", captured {text(payment.captured)}, refunded {text(payment.refunded)}"
    return shown
