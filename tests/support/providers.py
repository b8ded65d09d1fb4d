"""Both payment providers, each with what a test has to know of it, so that one suite holds for either."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook

from app.clock import now
from app.payments.model import Charge, Outcome, Outcomes, PaymentProvider, Repayment
from app.payments.sandbox.provider import SandboxProvider
from app.payments.sandbox.store import SandboxBooks
from app.payments.stripe.provider import StripeProvider
from tests.support import stripe_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from app.mongo.database import OrderDatabase

SANDBOX_SECRET = "whsec_c2FuZGJveCBldmVudHMgYXJlIHNpZ25lZCwgdG9v"


@dataclass(frozen=True)
class Outside:
    """A provider; methods that it authorizes and declines, with the code of that; how its events look."""

    provider: PaymentProvider
    good: str
    declined: str
    code: str
    unknown: str
    secret: str
    sign: Callable[[bytes, datetime, str], dict[str, str]]
    body: Callable[[str, str], bytes]

    def charge(self, amount: int = 1000, *, method: str | None = None, currency: str = "USD") -> Charge:
        """The charge of an order of its own."""
        return Charge(uuid.uuid4().hex[:24], amount, currency, method or self.good, now())

    def ask(self, step: str, charge: Charge) -> Outcome:
        """The final outcome of a step, repeated while it is unknown."""
        return _known(lambda: getattr(self.provider, step)([charge]))

    def once(self, step: str, charge: Charge) -> Outcome:
        """The outcome of a single call of a step."""
        ((outcome,),) = [list(group.values()) for group in getattr(self.provider, step)([charge])]
        return outcome

    def repay(self, charge: Charge, amount: int, *, number: int = 1, attempt: int = 1) -> Outcome:
        """The outcome of a refund."""
        repayment = Repayment(charge, f"{charge.order_id}-{number}", attempt, amount)
        return _known(lambda: self.provider.refund([repayment]))

    def captured(self, amount: int = 1000) -> Charge:
        """A captured charge, with the provider's reference."""
        charge = self.charge(amount)
        reference = self.ask("authorize", charge).reference
        charge = charge._replace(reference=reference)
        assert self.ask("capture", charge).status == "captured"
        return charge

    def books(self, charge: Charge) -> tuple[str, int, int]:
        """How the payment stands at the provider: status, captured, refunded."""
        found = self.provider.find(charge)
        assert found
        return found.status, found.captured, found.refunded


def sandbox(database: OrderDatabase) -> Outside:
    """The sandbox, over its books."""
    return Outside(
        provider=SandboxProvider(SandboxBooks(database), now, slowness=0.01, secret=SANDBOX_SECRET),
        good="sandbox_ok",
        declined="sandbox_insufficient_funds",
        code="insufficient_funds",
        unknown="pm_card_visa",
        secret=SANDBOX_SECRET,
        sign=_sign_as_standard_webhooks_say,
        body=lambda order_id, _: _json(type="payment.captured", data={"orderId": order_id}),
    )


def stripe(server: stripe_server.StripeServer, **options: Any) -> Outside:
    """Stripe, over HTTP."""
    secret = stripe_server.SIGNING_SECRET
    return Outside(
        provider=StripeProvider(stripe_server.API_KEY, now, api_base=server.url, secret=secret, **options),
        good=stripe_server.GOOD,
        declined=stripe_server.DECLINED,
        code="card_declined",
        unknown="sandbox_ok",
        secret=secret,
        sign=sign_as_stripe_does,
        body=_stripe_event,
    )


def _known(ask: Callable[[], Outcomes]) -> Outcome:
    for _ in range(10):
        outcomes = {name: outcome for group in ask() for name, outcome in group.items()}
        (outcome,) = outcomes.values()
        if outcome.status != "try_again":
            return outcome
    raise AssertionError("nobody ever knew")


def _sign_as_standard_webhooks_say(body: bytes, at: datetime, secret: str) -> dict[str, str]:
    signature = Webhook(secret).sign("evt_1", at, body.decode())
    return {
        "Webhook-Id": "evt_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": signature,
    }


def sign_as_stripe_does(body: bytes, at: datetime, secret: str) -> dict[str, str]:
    """The header that Stripe would send along."""
    time = int(at.timestamp())
    signature = hmac.new(secret.encode(), b"%d.%s" % (time, body), hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={time},v1={signature}"}


def _stripe_event(order_id: str, reference: str) -> bytes:
    intent = {"object": "payment_intent", "id": reference, "metadata": {"order_id": order_id}}
    return event_body("payment_intent.succeeded", intent)


def event_body(kind: str, about: dict[str, Any]) -> bytes:
    """An event of Stripe's."""
    return _json(object="event", id="evt_1", type=kind, data={"object": about})


def _json(**members: Any) -> bytes:
    return json.dumps(members).encode()
