"""Translates Stripe's answers and events into the terms of the service. It makes no calls."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.money import DECIMALS
from app.payments.model import TRY_AGAIN, Outcome, ProviderEvent, ProviderPayment

# Stripe's PaymentIntent as a mapping, with its latest charge if the call expanded that.
Intent = Mapping[str, Any]

STATUSES = {
    "requires_capture": "authorized",
    "requires_action": "requires_action",
    "requires_payment_method": "declined",
    "canceled": "voided",
    "succeeded": "captured",
}
REFUSED = "The payment provider refused the request."
# The currencies for which Stripe uses other minor units than ISO 4217.
_DECIMALS = {"ISK": 2, "UGX": 2, "MGA": 0}


def outcome(intent: Intent) -> Outcome:
    """The state of the payment. A declined intent counts as declined even after it is closed."""
    status, reference = STATUSES.get(intent["status"], "try_again"), intent["id"]
    failure = intent.get("last_payment_error")
    if status == "declined" or (status == "voided" and failure):
        return Outcome("declined", reference, *declined(failure or {}))
    if status == "requires_action":
        action = (intent.get("next_action") or {}).get("type", "")
        return Outcome(status, reference, action, client_secret=intent["client_secret"])
    return TRY_AGAIN if status == "try_again" else Outcome(status, reference, captured=received(intent))


def refund_outcome(refund: Mapping[str, Any]) -> Outcome:
    """The state of a refund. A refund can be pending for days at the bank."""
    if refund["status"] in ("failed", "canceled"):
        code = refund.get("failure_reason") or refund["status"]
        return Outcome("failed", code=code, message="The refund did not reach the customer.")
    return Outcome("refunded") if refund["status"] == "succeeded" else TRY_AGAIN


def declined(error: Mapping[str, Any]) -> tuple[str, str]:
    """The code and the customer's message for a declined card. Prefers the bank's own code."""
    code = error.get("decline_code") or error.get("code") or "payment_declined"
    return code, error.get("message") or "The payment was declined."


def refused(body: object) -> tuple[str, str]:
    """The code and the customer's message for an error answer.

    Stripe's own message is meant for customers only if the error is about the card.
    """
    match body:
        case {"error": {"type": "card_error"} as error}:
            return declined(error)
        case {"error": {"code": str(code)}}:
            return code, REFUSED
    return "provider_refused", REFUSED


def payment(intent: Intent) -> ProviderPayment:
    """The payment of an intent."""
    status, currency, captured = outcome(intent).status, intent["currency"].upper(), received(intent)
    # Stripe counts a released authorization as refunded, and the released part of one, too.
    charge = (intent.get("latest_charge") or {}) if captured else {}
    released = intent["amount"] - (intent.get("amount_received") or 0)
    refunded = to_minor(max(0, charge.get("amount_refunded", 0) - released), currency)
    return ProviderPayment(
        order_id=order_id(intent),
        reference=intent["id"],
        status="refunded" if 0 < captured <= refunded else status,
        amount=to_minor(intent["amount"], currency),
        currency=currency,
        captured=captured,
        refunded=refunded,
        at=datetime.fromtimestamp(intent["created"], UTC),
    )


def received(intent: Intent) -> int:
    """The money that the payment has taken, in minor units of ISO 4217."""
    return to_minor(intent.get("amount_received") or 0, intent["currency"].upper())


def order_id(about: Mapping[str, Any]) -> str:
    """The id of the order for which a Stripe object was created; empty if it was not for an order."""
    return str((about.get("metadata") or {}).get("order_id") or "")


def event(body: str) -> ProviderEvent:
    """The event in a webhook's body. It is about an intent, or about an object of one, such as a charge.

    Raises ValueError if the body is not an event.
    """
    match json.loads(body):
        case {"id": str(event_id), "type": str(kind), "data": {"object": dict(about)}}:
            is_intent = about.get("object") == "payment_intent"
            reference = about.get("id" if is_intent else "payment_intent")
            return ProviderEvent(event_id, kind, order_id(about) or None, reference or None)
        case {"id": str(event_id), "type": str(kind)}:
            return ProviderEvent(event_id, kind, None, None)
    raise ValueError("The event has no id or no type.")


def to_units(amount: int, currency: str, *, down: bool = False) -> int:
    """The amount in Stripe's minor units. Raises ValueError if Stripe cannot represent it, unless rounded
    `down`."""
    units, rest = divmod(amount * 10 ** _decimals(currency), 10 ** DECIMALS[currency])
    if rest and not down:
        raise ValueError(f"The payment provider takes no fractions of {currency}.")
    return units


def to_minor(units: int, currency: str) -> int:
    """The amount in minor units of ISO 4217. Amounts in other currencies stay as they are."""
    if currency not in _DECIMALS:
        return units
    return units * 10 ** DECIMALS[currency] // 10 ** _DECIMALS[currency]


def _decimals(currency: str) -> int:
    return _DECIMALS.get(currency, DECIMALS[currency])
