"""Checks that compare the money of an order with the payments that the provider lists.

Each check yields the findings of one kind. An order that changed a moment ago or has a step to retry is not
checked, since the provider may be ahead of it. Of the order's own payment at most one check finds something.
"""

from collections.abc import Iterator
from typing import NamedTuple

from app import money
from app.orders.model import Order, refundable
from app.orders.refunds import reserved
from app.orders.states import CAPTURED
from app.payments.model import ProviderPayment
from app.payments.steps import is_free
from app.reconciliation.records import ADOPTED_METHOD, Case, Finding

_CLOSED = ("declined", "voided")
_TAKEN = ("captured", "refunded")
# The payment statuses of an order whose money was captured, and those that need a payment at the provider.
_CAPTURED = (*CAPTURED, "refunded")
_PAID = ("authorized", *_CAPTURED)


class _Pair(NamedTuple):
    """An order and its own payment at the provider."""

    order: Order
    there: ProviderPayment

    def finding(self, expected: str) -> Finding:
        """The standing of the payment, beside what was expected."""
        ids = {"orderId": self.order["id"], "reference": self.there.reference}
        return Finding(ids, expected, _standing(self.there))

    @property
    def here(self) -> str:
        """The status of the payment in the order."""
        return self.order["payment"]["status"]

    @property
    def is_left(self) -> bool:
        """Whether the provider holds captured money that it has not refunded."""
        return self.there.status in _TAKEN and self.there.captured > self.there.refunded


def payment_orphaned(case: Case) -> Iterator[Finding]:
    """Payments with money on them, without an order."""
    if case.order is None:
        yield from orphans(case.records.payments)


def orphans(payments: list[ProviderPayment]) -> Iterator[Finding]:
    """The findings of payments that have no order."""
    for payment in payments:
        if holds_money(payment):
            ids = {"orderId": payment.order_id, "reference": payment.reference}
            yield Finding(ids, "an order", _standing(payment))


def payment_doubled(case: Case) -> Iterator[Finding]:
    """Payments with money on them beside the order's own."""
    order = case.money_at_rest
    if order is None:
        return
    own = _own(order, case.records.payments)
    for payment in case.records.payments:
        if payment is not own and holds_money(payment):
            ids = {"orderId": order["id"], "reference": payment.reference}
            yield Finding(ids, "one payment", _standing(payment))


def payment_missing(case: Case) -> Iterator[Finding]:
    """An order with money on it and no payment at the provider."""
    order = case.money_at_rest
    if order is None or _is_adopted(order) or _own(order, case.records.payments):
        return
    if order["payment"]["status"] in _PAID and order["totalAmount"] and not is_free(order):
        yield Finding({"orderId": order["id"]}, order["payment"]["status"], "no payment")


def payment_currency_differs(case: Case) -> Iterator[Finding]:
    """An open payment in another currency."""
    pair = _pair(case)
    if pair and _has_other_currency(pair):
        yield pair.finding(pair.order["currency"])


def payment_amount_differs(case: Case) -> Iterator[Finding]:
    """An open payment of another amount in the order's currency."""
    pair = _pair(case)
    if pair and not _has_other_currency(pair) and _has_other_amount(pair):
        yield pair.finding(_text(pair.order["totalAmount"], pair.order))


def payment_ahead(case: Case) -> Iterator[Finding]:
    """A payment that goes further than a pending order says."""
    pair = _uncaptured(case)
    if pair and pair.order["status"] == "pending":
        is_reserved = pair.there.status == "authorized" and pair.here == "pending"
        if is_reserved or pair.is_left:
            yield pair.finding(pair.here)


def authorization_lost(case: Case) -> Iterator[Finding]:
    """A pending order with an authorization that is closed at the provider."""
    pair = _uncaptured(case)
    is_lost = pair and pair.here == "authorized" and pair.there.status in _CLOSED
    if pair and is_lost and pair.order["status"] == "pending" and not is_free(pair.order):
        yield pair.finding("authorized")


def authorization_open(case: Case) -> Iterator[Finding]:
    """An ended order with an open authorization at the provider."""
    pair = _uncaptured(case)
    if pair and pair.order["status"] != "pending" and pair.there.status == "authorized":
        yield pair.finding("closed")


def captured_on_cancelled(case: Case) -> Iterator[Finding]:
    """Captured money of an ended order that no refund returns."""
    pair = _uncaptured(case)
    if pair and pair.order["status"] != "pending" and pair.is_left:
        yield pair.finding("given back")
    yield from _left_on_cancelled(case, has_failed=False)


def cancelled_refund_failed(case: Case) -> Iterator[Finding]:
    """Captured money of a cancelled order whose refund has failed."""
    return _left_on_cancelled(case, has_failed=True)


def captured_differs(case: Case) -> Iterator[Finding]:
    """Another captured amount than in the order."""
    pair = _captured(case)
    if pair and not _has_same_capture(pair):
        yield pair.finding(f"captured {_text(pair.order['payment']['capturedAmount'], pair.order)}")


def refund_unknown(case: Case) -> Iterator[Finding]:
    """More refunded than in the order, pending refunds included."""
    pair = _captured(case)
    if pair and _has_same_capture(pair):
        refunded = pair.order["payment"]["refundedAmount"]
        if pair.there.refunded > refunded + reserved(pair.order.get("refunds", ())):
            yield pair.finding(f"refunded {_text(refunded, pair.order)}")


def refund_missing(case: Case) -> Iterator[Finding]:
    """Less refunded than in the order."""
    pair = _captured(case)
    if pair and _has_same_capture(pair):
        refunded = pair.order["payment"]["refundedAmount"]
        if pair.there.refunded < refunded:
            yield pair.finding(f"refunded {_text(refunded, pair.order)}")


def holds_money(payment: ProviderPayment) -> int:
    """The money that the payment reserves or has taken, in minor units."""
    if payment.status in _TAKEN:
        return payment.captured - payment.refunded
    return payment.amount if payment.status == "authorized" else 0


def _is_adopted(order: Order) -> bool:
    return order["payment"].get("method") == ADOPTED_METHOD


def _own(order: Order, payments: list[ProviderPayment]) -> ProviderPayment | None:
    """The payment with the order's reference; before the order has one, the payment with the most money."""
    if "reference" in order["payment"]:
        reference = order["payment"]["reference"]
        return next((payment for payment in payments if payment.reference == reference), None)
    return max(payments, key=holds_money, default=None)


def _pair(case: Case) -> _Pair | None:
    order = case.money_at_rest
    if order is None or _is_adopted(order):
        return None
    own = _own(order, case.records.payments)
    return _Pair(order, own) if own else None


def _has_other_currency(pair: _Pair) -> bool:
    return pair.there.status not in _CLOSED and pair.there.currency.upper() != pair.order["currency"]


def _has_other_amount(pair: _Pair) -> bool:
    return pair.there.status not in _CLOSED and pair.there.amount != pair.order["totalAmount"]


def _priced(case: Case) -> _Pair | None:
    """The order and its payment, if they agree on amount and currency."""
    pair = _pair(case)
    return pair if pair and not _has_other_currency(pair) and not _has_other_amount(pair) else None


def _captured(case: Case) -> _Pair | None:
    """The same, if the order's money is captured."""
    pair = _priced(case)
    return pair if pair and pair.here in _CAPTURED else None


def _uncaptured(case: Case) -> _Pair | None:
    """The same, if the order's money is not captured."""
    pair = _priced(case)
    return pair if pair and pair.here not in _CAPTURED else None


def _has_same_capture(pair: _Pair) -> bool:
    captured = pair.order["payment"]["capturedAmount"]
    # If cancelled pieces left nothing to capture, the authorization was voided.
    is_closed = pair.there.status in _TAKEN or (not captured and pair.there.status in _CLOSED)
    return is_closed and pair.there.captured == captured


def _left_on_cancelled(case: Case, *, has_failed: bool) -> Iterator[Finding]:
    pair = _captured(case)
    if pair is None or pair.order["status"] != "cancelled" or not _agrees(pair):
        return
    refunds = pair.order.get("refunds", ())
    if (left := refundable(pair.order)) and has_failed == any(one["status"] == "failed" for one in refunds):
        yield pair.finding(f"{_text(left, pair.order)} given back")


def _agrees(pair: _Pair) -> bool:
    """Whether captured and refunded amounts are as in the order."""
    refunded = pair.order["payment"]["refundedAmount"]
    most = refunded + reserved(pair.order.get("refunds", ()))
    return _has_same_capture(pair) and refunded <= pair.there.refunded <= most


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
