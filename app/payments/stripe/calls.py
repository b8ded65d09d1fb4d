"""The calls to Stripe. Each is safe to repeat, at once or a week later.

Stripe answers a repeated idempotency key with its first answer, however old that is. If an answer is such a
replay, the present intent is retrieved. Capture and cancel use no key: the intent's state allows each only
once, and Stripe would repeat a refusal for a day, even after its reason is gone.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import stripe

from app.clock import Clock
from app.payments.model import Charge, Repayment
from app.payments.stripe.answers import Intent, order_id, refund_outcome, to_units

RETRIES = 1
# Stripe keeps a key for at least a day. An intent that can be older is searched by its order's id.
KEY_LIFE = timedelta(hours=23)
# A list begins this much earlier than the order, in case Stripe's clock is behind.
CLOCK_SKEW = timedelta(minutes=5)
SPARE_KEYS = 4


class Timeouts(NamedTuple):
    """The timeouts of a call, in seconds."""

    connect: float = 5.0
    read: float = 20.0


class StripeCalls:
    """Safe for any number of threads. Calls raise StripeError unless their docstring says otherwise."""

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
        """The order's only intent in its present state. Creates it if it does not exist.

        Raises ValueError if Stripe cannot represent the amount.
        """
        if charge.reference:
            return self.retrieve(charge.reference)
        if self._clock() - charge.at > KEY_LIFE and (found := self.listed(charge)):
            return found
        params: Any = {
            "amount": to_units(charge.amount, charge.currency),
            "currency": charge.currency.lower(),
            "capture_method": "manual",
            "payment_method_types": ["card"],
            "metadata": {"order_id": charge.order_id},
        }
        if charge.method:
            params["payment_method"] = charge.method
        return self._keyed(f"{charge.order_id}:create", lambda key: self._intents.create(params, key))

    def confirm(self, charge: Charge, reference: str) -> Intent:
        """Confirms the intent with the bank, unless that was done before."""
        key = f"{charge.order_id}:confirm"
        try:
            return self._keyed(key, lambda key: self._intents.confirm(reference, {}, key))
        except stripe.InvalidRequestError:
            # Another call may have confirmed or closed it meanwhile.
            present = self.retrieve(reference)
            if present["status"] == "requires_confirmation":
                raise
            return present

    def capture(self, reference: str, charge: Charge) -> Intent:
        """Takes what is due, and releases the rest."""
        params: Any = {"amount_to_capture": to_units(charge.due, charge.currency, down=True)}
        return self._intents.capture(reference, params if charge.lowered else None).to_dict()

    def cancel(self, reference: str) -> Intent:
        """Cancels the intent and returns it: canceled, or succeeded if the money was captured before."""
        try:
            return self._intents.cancel(reference).to_dict()
        except stripe.InvalidRequestError:
            present = self.retrieve(reference)
            if present["status"] not in ("canceled", "succeeded"):
                raise
            return present

    def refund(self, reference: str, repayment: Repayment) -> Mapping[str, Any]:
        """The refund. Creates it if it does not exist."""
        charge = repayment.charge
        ids = {"order_id": charge.order_id, "refund_id": repayment.refund_id, "attempt": repayment.attempt}
        params: Any = {
            "payment_intent": reference,
            "amount": to_units(repayment.amount, charge.currency),
            "metadata": {name: str(value) for name, value in ids.items()},
        }
        key: Any = {"idempotency_key": f"{repayment.refund_id}:{repayment.attempt}"}
        return self._existing_refund(reference, repayment) or self._refunds.create(params, key).to_dict()

    def retrieve(self, reference: str) -> Intent:
        """The intent in its present state."""
        return self._intents.retrieve(reference, {"expand": ["latest_charge"]}).to_dict()

    def listed(self, charge: Charge) -> Intent | None:
        """The order's intent, searched among all intents since the order; None if it is not there."""
        made = self.since(charge.at)
        return next((intent for intent in made if order_id(intent) == charge.order_id), None)

    def since(self, moment: datetime) -> Iterator[Intent]:
        """All intents since the moment, newest first."""
        begin = int((moment - CLOCK_SKEW).timestamp())
        params: Any = {"created": {"gte": begin}, "limit": 100, "expand": ["data.latest_charge"]}
        return (intent.to_dict() for intent in self._intents.list(params).auto_paging_iter())

    def _existing_refund(self, reference: str, repayment: Repayment) -> Mapping[str, Any] | None:
        """The refund that an earlier call made. Failed refunds of earlier attempts do not count."""
        for made in self._refunds.list({"payment_intent": reference, "limit": 100}).auto_paging_iter():
            refund = made.to_dict()
            metadata = refund.get("metadata") or {}
            counts = refund_outcome(refund).status != "failed" or metadata.get("attempt") == str(
                repayment.attempt
            )
            if metadata.get("refund_id") == repayment.refund_id and counts:
                return refund
        return None

    def _keyed(self, key: str, call: Callable[[Any], stripe.PaymentIntent]) -> Intent:
        """The intent in its state after the call.

        If Stripe replays a server error for the key, the call is made with the next key. This can create two
        intents, but only the later one is ever confirmed.
        """
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
    """Whether Stripe has refused this payment for good: a 4xx answer.

    A lock, a rate limit and a rejected API key do not count: they are not the customer's fault.
    """
    status = error.http_status or 0
    return 400 <= status < 500 and status not in (401, 403, 409, 429)


def fault(error: stripe.StripeError) -> dict[str, Any]:
    """The log fields of an error. They leave out Stripe's message, which can contain a part of the API
    key."""
    return {
        "fault": type(error).__name__,
        "http_status": error.http_status,
        "code": error.code,
        "stripe_request": error.request_id,
    }


def _is_replay(headers: Mapping[str, str] | None) -> bool:
    return headers is not None and headers.get("idempotent-replayed") == "true"
