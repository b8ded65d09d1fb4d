"""What is said between the service and a payment provider: charges out, outcomes back."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class Charge(NamedTuple):
    """What one order owes, in minor units. The idempotency key of each call is made of `order_id` and the
    step, so a call repeated has the effect and the outcome of the first."""

    order_id: str
    amount: int
    currency: str
    method: str | None


class Outcome(NamedTuple):
    """How a payment stands after a call: `authorized`, `captured`, `declined`, `voided`, `refunded`, or
    `try_again` where nobody knows yet. `code` and `message` say why it was declined."""

    status: str
    reference: str = ""
    code: str = ""
    message: str = ""


TRY_AGAIN = Outcome("try_again")

# By order id. Outcomes come in groups, each as soon as it is known, so that a slow charge holds up no other.
Outcomes = Iterator[dict[str, Outcome]]


class ProviderPayment(NamedTuple):
    """A payment as the provider has it on its books."""

    order_id: str
    status: str
    amount: int
    currency: str
    captured: int
    refunded: int
    at: datetime


class PaymentProvider(Protocol):
    """The interface of every payment provider. No call raises for an expected fault of the provider: what is
    not known to have happened is `try_again`."""

    def accepts(self, method: str | None) -> bool:
        """Whether the provider knows the payment method (its own token); None asks for its default."""

    def authorize(self, charges: Sequence[Charge]) -> Outcomes:
        """Reserves the money: `authorized` or `declined`."""

    def capture(self, charges: Sequence[Charge]) -> Outcomes:
        """Takes the money that was authorized: `captured`, or `voided` if the authorization is gone."""

    def void(self, charges: Sequence[Charge]) -> Outcomes:
        """Closes the payment. Afterwards no authorization of the order is open, nor can one arise from a call
        that is still on its way: `voided`, or `captured` where the money has been taken before."""

    def refund(self, charges: Sequence[Charge]) -> Outcomes:
        """Gives all of the captured money back: `refunded`."""

    def find(self, order_id: str) -> ProviderPayment | None:
        """The payment of an order, if the provider has heard of it."""

    def list_since(self, moment: datetime) -> Iterator[ProviderPayment]:
        """All payments made since the moment, oldest first."""
