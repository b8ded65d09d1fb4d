"""The calls to Stripe, each safe to repeat however often, at once or a week later.

Stripe answers a repeated key with its first answer, however old. Where an answer says that it is such a
replay, the intent is asked for anew. Capture and cancel go without a key of ours: an intent's own state lets
each happen once, and a refusal kept under a key would outlive its reason by a day.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import stripe

from app.clock import Clock
from app.payments.model import Charge, Repayment
from app.payments.stripe.answers import Intent, order_id, refund_outcome, to_units

RETRIES = 1
# Stripe keeps a key for a day at least. An intent that may be older is looked for by its order.
KEY_LIFE = timedelta(hours=23)
# A listing begins this much earlier than the order, lest Stripe's clock be behind ours.
CLOCK_SKEW = timedelta(minutes=5)
SPARE_KEYS = 4


class Timeouts(NamedTuple):
    """In seconds."""

    connect: float = 5.0
    read: float = 20.0


class StripeCalls:
    """May be used by any number of threads. Calls raise StripeError where they do not say otherwise."""

    def __init__(self, api_key: str, api_base: str, clock: Clock, timeouts: Timeouts) -> None:
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base.rstrip("/")},
            http_client=stripe.RequestsClient(timeout=timeouts),
            max_network_retries=RETRIES,
        )
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._clock = clock

    def intent(self, charge: Charge) -> Intent:
        """The one intent of the order as it stands now, made if there was none. Raises ValueError where the
        amount cannot be told to Stripe."""
        if charge.reference:
            return self.retrieve(charge.reference)
        if self._clock() - charge.at > KEY_LIFE and (found := self.listed(charge)):
            return found
        asked: Any = {
            "amount": to_units(charge.amount, charge.currency),
            "currency": charge.currency.lower(),
            "capture_method": "manual",
            "payment_method_types": ["card"],
            "metadata": {"order_id": charge.order_id},
        }
        if charge.method:
            asked["payment_method"] = charge.method
        return self._keyed(f"{charge.order_id}:create", lambda key: self._intents.create(asked, key))

    def confirm(self, charge: Charge, reference: str) -> Intent:
        """Asks the bank, unless that has been done."""
        key = f"{charge.order_id}:confirm"
        try:
            return self._keyed(key, lambda key: self._intents.confirm(reference, {}, key))
        except stripe.InvalidRequestError:
            # Somebody else may have confirmed or closed it meanwhile.
            present = self.retrieve(reference)
            if present["status"] == "requires_confirmation":
                raise
            return present

    def capture(self, reference: str) -> Intent:
        """Takes the money."""
        return self._intents.capture(reference).to_dict()

    def cancel(self, reference: str) -> Intent:
        """The intent afterwards: canceled, or succeeded where the money has been taken before."""
        try:
            return self._intents.cancel(reference).to_dict()
        except stripe.InvalidRequestError:
            present = self.retrieve(reference)
            if present["status"] not in ("canceled", "succeeded"):
                raise
            return present

    def refund(self, reference: str, repayment: Repayment) -> Mapping[str, Any]:
        """The refund, made if it was not made before."""
        charge = repayment.charge
        told = {"order_id": charge.order_id, "refund_id": repayment.refund_id, "attempt": repayment.attempt}
        asked: Any = {
            "payment_intent": reference,
            "amount": to_units(repayment.amount, charge.currency),
            "metadata": {name: str(value) for name, value in told.items()},
        }
        key: Any = {"idempotency_key": f"{repayment.refund_id}:{repayment.attempt}"}
        return self._refund_made(reference, repayment) or self._refunds.create(asked, key).to_dict()

    def retrieve(self, reference: str) -> Intent:
        """The intent as it stands now."""
        return self._intents.retrieve(reference, {"expand": ["latest_charge"]}).to_dict()

    def listed(self, charge: Charge) -> Intent | None:
        """The intent of the order among all that were made since."""
        made = self.since(charge.at)
        return next((intent for intent in made if order_id(intent) == charge.order_id), None)

    def since(self, moment: datetime) -> Iterator[Intent]:
        """All intents that were made since, newest first."""
        begin = int((moment - CLOCK_SKEW).timestamp())
        asked: Any = {"created": {"gte": begin}, "limit": 100, "expand": ["data.latest_charge"]}
        return (intent.to_dict() for intent in self._intents.list(asked).auto_paging_iter())

    def _refund_made(self, reference: str, repayment: Repayment) -> Mapping[str, Any] | None:
        """Attempts that failed before the present one do not count."""
        for made in self._refunds.list({"payment_intent": reference, "limit": 100}).auto_paging_iter():
            refund = made.to_dict()
            told = refund.get("metadata") or {}
            counts = refund_outcome(refund).status != "failed" or told.get("attempt") == str(
                repayment.attempt
            )
            if told.get("refund_id") == repayment.refund_id and counts:
                return refund
        return None

    def _keyed(self, key: str, call: Callable[[Any], stripe.PaymentIntent]) -> Intent:
        """The intent as it stands after the call. A fault of Stripe's that is kept under the key is passed
        over by the next key: of two intents that this may make, only the later is ever confirmed."""
        spare = iter(range(2, 2 + SPARE_KEYS))
        used = key
        while True:
            try:
                intent = call({"idempotency_key": used})
            except stripe.StripeError as error:
                is_kept = _is_replay(error.headers) and (error.http_status or 0) >= 500
                if not is_kept or not (number := next(spare, None)):
                    raise
                used = f"{key}:{number}"
            else:
                response = intent.last_response
                replayed = response is not None and _is_replay(response.headers)
                return self.retrieve(intent.id) if replayed else intent.to_dict()


def is_refused(error: stripe.StripeError) -> bool:
    """Whether Stripe has answered of this payment, and would answer the same again: a 4xx, but for a lock, a
    rate, or a key that it does not take, which is ours to put right and no customer's fault."""
    status = error.http_status or 0
    return 400 <= status < 500 and status not in (401, 403, 409, 429)


def fault(error: stripe.StripeError) -> dict[str, Any]:
    """What went wrong, for the log; without Stripe's own words, in which a part of the key may be."""
    return {
        "fault": type(error).__name__,
        "http_status": error.http_status,
        "code": error.code,
        "stripe_request": error.request_id,
    }


def _is_replay(headers: Mapping[str, str] | None) -> bool:
    return headers is not None and headers.get("idempotent-replayed") == "true"
