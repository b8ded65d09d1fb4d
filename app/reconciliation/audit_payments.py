"""Whether an order and the provider's books agree on its money."""

from collections.abc import Iterator
from datetime import datetime

from app import money
from app.orders.model import Order, refundable
from app.orders.refunds import reserved
from app.orders.states import CAPTURED
from app.payments.model import ProviderPayment
from app.reconciliation.kinds import Difference
from app.reconciliation.records import ADOPTED_METHOD, DEADLINES, Dossier, Look

_CLOSED = ("declined", "voided")
_TAKEN = ("captured", "refunded")
# Payment statuses of an order by which the provider must have a payment.
_PAID = ("authorized", *CAPTURED, "refunded")


def differences(dossier: Dossier, look: Look) -> Iterator[Difference]:
    """What does not agree. An order that changed a moment ago, or whose step is to be tried again, is left
    alone: the provider may be ahead of it."""
    order = dossier.order
    if order is None:
        for payment in dossier.payments:
            if holds_money(payment):
                yield orphaned(payment)
    elif judged_from(order, look) < look.now:
        yield from _of_order(order, dossier.payments)


def judged_from(order: Order, look: Look) -> datetime:
    """After which moment the money of the order can be judged."""
    moment = look.rests_from(order, DEADLINES)
    if look.is_tried_again(order, DEADLINES):
        return max(moment, order["dueBy"] + DEADLINES * look.step_deadline)
    return moment


def orphaned(payment: ProviderPayment) -> Difference:
    """That there is no order to the payment."""
    ids = {"orderId": payment.order_id, "reference": payment.reference}
    return Difference("payment_orphaned", ids, "an order", _standing(payment))


def holds_money(payment: ProviderPayment) -> int:
    """How much of somebody's money is reserved or taken by the payment, in minor units."""
    if payment.status in _TAKEN:
        return payment.captured - payment.refunded
    return payment.amount if payment.status == "authorized" else 0


def _of_order(order: Order, payments: list[ProviderPayment]) -> Iterator[Difference]:
    here, ids = order["payment"], {"orderId": order["id"]}
    own = _own(order, payments)
    for payment in payments:
        if payment is not own and holds_money(payment):
            told = {**ids, "reference": payment.reference}
            yield Difference("payment_doubled", told, "one payment", _standing(payment), order["version"])
    if here.get("method") == ADOPTED_METHOD:
        return
    if own is None:
        if here["status"] in _PAID and order["totalAmount"]:
            yield Difference("payment_missing", ids, here["status"], "no payment", order["version"])
    elif found := _fault(order, own):
        kind, expected = found
        told = {**ids, "reference": own.reference}
        yield Difference(kind, told, expected, _standing(own), order["version"])


def _own(order: Order, payments: list[ProviderPayment]) -> ProviderPayment | None:
    """The payment that the order means; where it knows no reference yet, the one with the most money."""
    if "reference" in order["payment"]:
        reference = order["payment"]["reference"]
        return next((payment for payment in payments if payment.reference == reference), None)
    return max(payments, key=holds_money, default=None)


def _fault(order: Order, there: ProviderPayment) -> tuple[str, str] | None:
    """The one kind of difference that comes first, and what was expected."""
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

    told = f"{payment.status}, {text(payment.amount)} {currency}"
    if payment.captured:
        told += f", captured {text(payment.captured)}, refunded {text(payment.refunded)}"
    return told
