"""A payment provider that moves no money: the payment method's name chooses the outcome."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from standardwebhooks import Webhook, WebhookVerificationError

from app.clock import Clock
from app.payments.model import (
    TRY_AGAIN,
    BadSignature,
    Charge,
    Outcome,
    Outcomes,
    ProviderEvent,
    ProviderPayment,
    Repayment,
)

# The first status of a payment, by its method. `authorize` and `refund` have the special cases.
METHODS = {
    "sandbox_ok": "authorized",
    "sandbox_declined": "declined",
    "sandbox_insufficient_funds": "declined",
    "sandbox_timeout_once": "authorized",
    "sandbox_unavailable": "unavailable",
    "sandbox_slow": "authorized",
    "sandbox_refund_fails_once": "authorized",
    "sandbox_refund_fails": "authorized",
}
FAILURES = {
    "sandbox_declined": ("card_declined", "The card was declined."),
    "sandbox_insufficient_funds": ("insufficient_funds", "The card has insufficient funds."),
}
REFUND_DECLINED = "The bank did not take the refund; it may when it is asked again."
DEFAULT_METHOD = "sandbox_ok"


class Books(Protocol):
    """The store of the sandbox's payments. Each write returns their new state, by order id."""

    def open(
        self, charges: Sequence[tuple[Charge, str]], at: datetime
    ) -> Mapping[str, Mapping[str, Any]]: ...
    def capture(self, charges: Sequence[Charge]) -> Mapping[str, Mapping[str, Any]]: ...
    def void(self, charges: Sequence[Charge], at: datetime) -> Mapping[str, Mapping[str, Any]]: ...
    def refund(self, repayments: Sequence[Repayment]) -> Mapping[str, Mapping[str, Any]]: ...
    def find(self, order_id: str) -> ProviderPayment | None: ...
    def since(self, moment: datetime) -> Iterator[ProviderPayment]: ...


class SandboxProvider:
    """Implements the payment provider interface with a store of its own."""

    name = "sandbox"

    def __init__(
        self, books: Books, clock: Clock, *, slowness: float = 2.0, secret: str | None = None
    ) -> None:
        self._books = books
        self._clock = clock
        self._slowness = slowness
        self._secret = secret

    def accepts(self, method: str | None) -> bool:
        """Supports the sandbox's method names, and None for the default."""
        return method is None or method in METHODS

    def authorize(self, charges: Sequence[Charge]) -> Outcomes:
        """Opens a payment for each charge.

        `sandbox_unavailable` never answers. `sandbox_timeout_once` opens the payment but loses the first
        answer. `sandbox_slow` answers after a delay.
        """
        slow = [charge for charge in charges if charge.method == "sandbox_slow"]
        unavailable = {charge.order_id for charge in charges if charge.method == "sandbox_unavailable"}
        quick = [charge for charge in charges if charge not in slow and charge.order_id not in unavailable]
        if unavailable:
            yield dict.fromkeys(unavailable, TRY_AGAIN)
        if quick:
            yield self._open(quick)
        if slow:
            time.sleep(self._slowness)
            yield self._open(slow)

    def capture(self, charges: Sequence[Charge]) -> Outcomes:
        """Captures what is due of every payment whose authorization was not voided."""
        yield self._outcomes(charges, self._books.capture(charges))

    def void(self, charges: Sequence[Charge]) -> Outcomes:
        """Closes each payment. An unopened payment is stored as closed, so that a late call finds it
        closed."""
        yield self._outcomes(charges, self._books.void(charges, self._clock()))

    def refund(self, repayments: Sequence[Repayment]) -> Outcomes:
        """Refunds, except that `sandbox_refund_fails_once` fails at the first attempt of each refund, and
        `sandbox_refund_fails` at every attempt."""
        failing = {
            repayment.refund_id
            for repayment in repayments
            if repayment.charge.method == "sandbox_refund_fails"
            or (repayment.charge.method == "sandbox_refund_fails_once" and repayment.attempt == 1)
        }
        if failing:
            yield dict.fromkeys(failing, Outcome("failed", code="refund_declined", message=REFUND_DECLINED))
        if going := [repayment for repayment in repayments if repayment.refund_id not in failing]:
            payments = self._books.refund(going)
            yield {
                repayment.refund_id: _repaid(repayment, payments.get(repayment.charge.order_id, {}))
                for repayment in going
            }

    def find(self, charge: Charge) -> ProviderPayment | None:
        """The stored payment of the order."""
        return self._books.find(charge.order_id)

    def list_since(self, moment: datetime) -> Iterator[ProviderPayment]:
        """The stored payments, oldest first."""
        return self._books.since(moment)

    def event(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """Reads `{"type": "payment.captured", "data": {"orderId": "…"}}`, signed by Standard Webhooks 1.0."""
        if self._secret is None:
            raise BadSignature("No secret is set that could prove where the event comes from.")
        named = {name.lower(): value for name, value in headers.items()}
        try:
            Webhook(self._secret).verify(body, named, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            raise BadSignature(str(error)) from error
        match json.loads(body):
            case {"type": str(kind), "data": {"orderId": str(order_id)}}:
                return ProviderEvent(named["webhook-id"], kind, order_id, reference(order_id))
            case {"type": str(kind)}:
                return ProviderEvent(named["webhook-id"], kind, None, None)
        raise ValueError("The event has no type.")

    def _open(self, charges: Sequence[Charge]) -> dict[str, Outcome]:
        opening = [(charge, METHODS[charge.method or DEFAULT_METHOD]) for charge in charges]
        payments = self._books.open(opening, self._clock())
        outcomes = self._outcomes(charges, payments)
        for charge in charges:
            if charge.method == "sandbox_timeout_once" and payments[charge.order_id]["calls"] == 1:
                outcomes[charge.order_id] = TRY_AGAIN
        return outcomes

    def _outcomes(
        self, charges: Sequence[Charge], payments: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Outcome]:
        outcomes = {}
        for charge in charges:
            payment = payments[charge.order_id]
            is_declined = payment["status"] == "declined"
            code, message = FAILURES.get(charge.method or "", ("", "")) if is_declined else ("", "")
            outcomes[charge.order_id] = Outcome(
                payment["status"], reference(charge.order_id), code, message, captured=payment["captured"]
            )
        return outcomes


def _repaid(repayment: Repayment, payment: Mapping[str, Any]) -> Outcome:
    # Nothing can be given back even of a payment that took no money.
    if not repayment.amount or any(made["id"] == repayment.refund_id for made in payment.get("refunds", ())):
        return Outcome("refunded")
    return Outcome("failed", code="not_refundable", message="There is not so much left to be refunded.")


def reference(order_id: str) -> str:
    """The sandbox's id for the payment of an order."""
    return f"sandbox_{order_id}"
