"""Stripe as payment provider, through its own SDK: one manual-capture PaymentIntent for each order, paid by
card.

One call creates the intent, and a second call confirms it. If the service has to close an order without
knowing its intent, it creates the intent with the same idempotency key and cancels it. So each order has one
intent, whichever call comes first, and a confirmation in flight finds it closed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import TypeVar

import stripe
import structlog

from app.clock import Clock
from app.errors import ProviderUnavailable
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
from app.payments.stripe import answers
from app.payments.stripe.calls import StripeCalls, Timeouts, fault, is_refused

log = structlog.get_logger()
T = TypeVar("T")

METHOD = re.compile(r"pm_\w{1,120}", re.ASCII)
TOLERANCE = 300  # seconds
CONCURRENCY = 16
# Seconds that an answer waits for other answers, so that they are written together.
GATHERING = 0.1


class StripeProvider:
    """Implements the payment provider interface. Safe for any number of threads.

    Stripe has no charges of zero, so such a charge succeeds without a call.
    """

    name = "stripe"

    def __init__(
        self,
        api_key: str,
        clock: Clock,
        *,
        api_base: str = stripe.DEFAULT_API_BASE,
        secret: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._calls = StripeCalls(api_key, api_base, clock, timeouts or Timeouts())
        self._secret = secret
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="stripe")

    def accepts(self, method: str | None) -> bool:
        """Supports the ids of payment methods, `pm_…`. It has no default method."""
        return method is not None and METHOD.fullmatch(method) is not None

    def authorize(self, charges: Sequence[Charge]) -> Outcomes:
        """Reserves the money. A declined payment has the bank's own code, if Stripe gives it.

        A request that Stripe refuses is declined too, so that an order with a useless token ends.
        """
        return self._each(self._authorize, {charge.order_id: charge for charge in charges})

    def capture(self, charges: Sequence[Charge]) -> Outcomes:
        """Takes what is due. An authorization that Stripe refuses to capture is closed and becomes
        `voided`."""
        return self._each(self._capture, {charge.order_id: charge for charge in charges})

    def void(self, charges: Sequence[Charge]) -> Outcomes:
        """Cancels the order's intent, and creates one to cancel if it has none.

        If Stripe refuses to cancel, this is `try_again`, since money can still be reserved.
        """
        return self._each(self._void, {charge.order_id: charge for charge in charges})

    def refund(self, repayments: Sequence[Repayment]) -> Outcomes:
        """Returns the money. It first looks for the refund at Stripe, so that a late repetition makes no
        second one.

        A refund that is pending at the bank is `try_again`.
        """
        return self._each(self._refund, {repayment.refund_id: repayment for repayment in repayments})

    def find(self, charge: Charge) -> ProviderPayment | None:
        """Finds the payment by its reference, or else among the intents since the order."""
        if not charge.reference and not charge.amount:
            return None
        try:
            known = charge.reference
            intent = self._calls.retrieve(known) if known else self._calls.listed(charge)
        except stripe.StripeError as error:
            if error.http_status == 404:
                return None
            raise ProviderUnavailable(fault(error)) from error
        return answers.payment(intent) if intent else None

    def list_since(self, moment: datetime) -> Iterator[ProviderPayment]:
        """All payments, newest first as Stripe lists them. Payments from elsewhere have no order's id."""
        try:
            yield from map(answers.payment, self._calls.since(moment))
        except stripe.StripeError as error:
            raise ProviderUnavailable(fault(error)) from error

    def event(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """Reads a Stripe event about an intent, or about an object of one: a charge, a refund, a dispute."""
        signature = next((value for name, value in headers.items() if name.lower() == "stripe-signature"), "")
        try:
            text = body.decode()
            stripe.WebhookSignature.verify_header(text, signature, self._secret, TOLERANCE)
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
            raise BadSignature("The signature is missing, wrong or too old.") from error
        return answers.event(text)

    def _each(self, work: Callable[[T], Outcome], items: Mapping[str, T]) -> Outcomes:
        """Does the work for all items in parallel, as far as there are threads."""
        waiting: dict[Future[Outcome], str] = {
            self._threads.submit(_guarded, work, name, item): name for name, item in items.items()
        }
        try:
            while waiting:
                done, _ = wait(waiting, timeout=GATHERING)
                if not done:
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                yield {waiting.pop(future): future.result() for future in done}
        finally:
            for future in waiting:
                future.cancel()

    def _authorize(self, charge: Charge) -> Outcome:
        if charge.amount == 0:
            return Outcome("authorized")
        reference = ""
        try:
            intent = self._calls.intent(charge)
            reference = intent["id"]
            if intent["status"] == "requires_confirmation":
                intent = self._calls.confirm(charge, reference)
        except stripe.StripeError as error:
            if not is_refused(error):
                raise
            log.info("authorization refused", order_id=charge.order_id, **fault(error))
            if reference:
                self._calls.cancel(reference)
            return Outcome("declined", reference, *answers.refused(error.json_body))
        except ValueError as error:
            return Outcome("declined", "", "amount_not_supported", str(error))
        if intent["status"] == "requires_payment_method":
            # The order has ended, so the client secret must not be of use any more.
            self._calls.cancel(reference)
        return answers.outcome(intent)

    def _capture(self, charge: Charge) -> Outcome:
        if charge.amount == 0:
            return Outcome("captured")
        reference = charge.reference or self._calls.intent(charge)["id"]
        try:
            intent = self._calls.capture(reference, charge)
        except stripe.StripeError as error:
            if not is_refused(error):
                raise
            intent = self._calls.retrieve(reference)
            if intent["status"] == "requires_capture":
                log.error("capture refused", order_id=charge.order_id, **fault(error))
                intent = self._calls.cancel(reference)
        return answers.outcome(intent)

    def _void(self, charge: Charge) -> Outcome:
        if charge.amount == 0:
            return Outcome("voided")
        try:
            intent = self._calls.intent(charge)
        except stripe.InvalidRequestError as error:
            # An intent that cannot be created, or does not exist, cannot be authorized.
            log.warning("no payment to void", order_id=charge.order_id, **fault(error))
            return Outcome("voided", charge.reference or "")
        except ValueError:
            return Outcome("voided")
        if intent["status"] not in ("canceled", "succeeded"):
            intent = self._calls.cancel(intent["id"])
        return Outcome(answers.STATUSES[intent["status"]], intent["id"], captured=answers.received(intent))

    def _refund(self, repayment: Repayment) -> Outcome:
        charge = repayment.charge
        if repayment.amount == 0:
            return Outcome("refunded")
        try:
            reference = charge.reference or self._calls.intent(charge)["id"]
            return answers.refund_outcome(self._calls.refund(reference, repayment))
        except stripe.StripeError as error:
            if not is_refused(error):
                raise
            log.warning("refund refused", order_id=charge.order_id, **fault(error))
            return Outcome("failed", "", *answers.refused(error.json_body))
        except ValueError as error:
            return Outcome("failed", "", "amount_not_supported", str(error))


def _guarded(work: Callable[[T], Outcome], name: str, item: T) -> Outcome:
    """The outcome of the work, or `try_again` if Stripe fails."""
    try:
        return work(item)
    except stripe.StripeError as error:
        write = log.error if is_refused(error) else log.warning
        write("payment outcome unknown", id=name, **fault(error))
        return TRY_AGAIN
