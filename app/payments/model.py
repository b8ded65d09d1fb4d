"""What is said between the service and a payment provider: charges out, outcomes back."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class Charge(NamedTuple):
    """What one order owes, in minor units. The idempotency key of each call is made of `order_id` and the
    step, so a call repeated has the effect and the outcome of the first. `reference` is the provider's own
    name for the payment, once we have heard it; `at` is the time of the order."""

    order_id: str
    amount: int
    currency: str
    method: str | None
    at: datetime
    reference: str | None = None


class Repayment(NamedTuple):
    """What is to be given back of a captured charge, in minor units. The idempotency key is made of
    `refund_id` and `attempt`: another attempt is another try, after one that has failed for good."""

    charge: Charge
    refund_id: str
    attempt: int
    amount: int


class Outcome(NamedTuple):
    """How a payment stands after a call: `authorized`, `captured`, `declined`, `voided`, `requires_action`,
    or `try_again` where nobody knows yet; of a repayment `refunded`, `failed` or `try_again`.

    `code` and `message` say why it was declined or has failed. Where the customer has to act first, `code` is
    the kind of action and `client_secret` what his browser needs for it.
    """

    status: str
    reference: str = ""
    code: str = ""
    message: str = ""
    client_secret: str = ""


TRY_AGAIN = Outcome("try_again")

# By order id, or by refund id. Outcomes come in groups, each as soon as it is known, so that a slow charge
# holds up no other.
Outcomes = Iterator[dict[str, Outcome]]


class ProviderPayment(NamedTuple):
    """A payment as the provider has it on its books. `status` is that of an Outcome, or `refunded` once all
    that was captured is given back; `order_id` is empty where the provider was never told one."""

    order_id: str
    reference: str
    status: str
    amount: int
    currency: str
    captured: int
    refunded: int
    at: datetime


class ProviderEvent(NamedTuple):
    """What a provider tells of its own accord: that something happened to a payment. `id` is the provider's
    own and unique; `order_id` and `reference` are None where it is about no payment of ours."""

    id: str
    type: str
    order_id: str | None
    reference: str | None


class BadSignature(Exception):
    """The event does not come from the provider, has been altered, or is too old."""


class PaymentProvider(Protocol):
    """The interface of every payment provider. No call raises for an expected fault of the provider: what is
    not known to have happened is `try_again`."""

    name: str

    def accepts(self, method: str | None) -> bool:
        """Whether the provider knows the payment method (its own token); None asks for its default."""

    def authorize(self, charges: Sequence[Charge]) -> Outcomes:
        """Reserves the money: `authorized`, `declined` or `requires_action`; `voided` once it is closed."""

    def capture(self, charges: Sequence[Charge]) -> Outcomes:
        """Takes the money that was authorized: `captured`, or `voided` if the authorization is gone."""

    def void(self, charges: Sequence[Charge]) -> Outcomes:
        """Closes the payment. Afterwards no authorization of the order is open, nor can one arise from a call
        that is still on its way: `voided`, or `captured` where the money has been taken before."""

    def refund(self, repayments: Sequence[Repayment]) -> Outcomes:
        """Gives captured money back, each repayment once, by its refund id: `refunded` or `failed`."""

    def find(self, charge: Charge) -> ProviderPayment | None:
        """The payment of an order, if the provider has heard of it. Raises ProviderUnavailable."""

    def list_since(self, moment: datetime) -> Iterator[ProviderPayment]:
        """All payments made since the moment, oldest first where the provider can. Raises
        ProviderUnavailable."""

    def event(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """The event that a call of the provider's webhook tells of, its signature checked on the raw body in
        constant time, its age within five minutes. Header names are matched in any case.

        Raises BadSignature, ValueError for a signed body that is no event.
        """
