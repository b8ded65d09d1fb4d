"""The interface between the service and a payment provider: charges go out, outcomes come back."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class Charge(NamedTuple):
    """The payment of one order. Amounts are in minor units.

    `amount` is reserved. A capture takes that less `lowered`, and releases the rest. Each call's idempotency
    key is made of `order_id` and the step. So a repeated call has the effect and the outcome of the first
    call. `reference` is the provider's id of the payment, if it is known. `at` is the time of the order.
    """

    order_id: str
    amount: int
    currency: str
    method: str | None
    at: datetime
    reference: str | None = None
    lowered: int = 0

    @property
    def due(self) -> int:
        """The amount to capture."""
        return self.amount - self.lowered


class Repayment(NamedTuple):
    """A refund of a captured charge; `amount` is in minor units.

    The idempotency key is made of `refund_id` and `attempt`. `attempt` grows with each retry of a failed
    refund.
    """

    charge: Charge
    refund_id: str
    attempt: int
    amount: int


class Outcome(NamedTuple):
    """The state of a payment after a call.

    `status` is `authorized`, `captured`, `declined`, `voided` or `requires_action`; for a repayment it is
    `refunded` or `failed`. It is `try_again` if the outcome is not known yet. `captured` is the amount that
    the payment has taken, in minor units. `code` and `message` give the reason of a failure. For
    `requires_action`, `code` is the type of the action, and the customer's browser needs `client_secret` for
    it.
    """

    status: str
    reference: str = ""
    code: str = ""
    message: str = ""
    client_secret: str = ""
    captured: int = 0


TRY_AGAIN = Outcome("try_again")

# The outcomes by order id, or by refund id for repayments. They come in groups, as soon as they are known. So
# a slow charge does not delay the others.
Outcomes = Iterator[dict[str, Outcome]]


class ProviderPayment(NamedTuple):
    """A payment as the provider has it.

    `status` is as in Outcome, or `refunded` once all captured money is refunded. `order_id` is empty if the
    provider has no order's id for the payment.
    """

    order_id: str
    reference: str
    status: str
    amount: int
    currency: str
    captured: int
    refunded: int
    at: datetime


class ProviderEvent(NamedTuple):
    """A notice from the provider that a payment changed.

    `id` is the provider's unique id of the event. `order_id` and `reference` are None if the event is not
    about a payment of this service.
    """

    id: str
    type: str
    order_id: str | None
    reference: str | None


class BadSignature(Exception):
    """The event is not from the provider, was altered, or is too old."""


class PaymentProvider(Protocol):
    """The interface of every payment provider.

    No call raises for an expected failure of the provider: an unknown outcome is `try_again`.
    """

    name: str

    def accepts(self, method: str | None) -> bool:
        """Whether the provider supports the payment method (the provider's token); None means its default."""

    def authorize(self, charges: Sequence[Charge]) -> Outcomes:
        """Reserves the money: `authorized`, `declined` or `requires_action`; `voided` for a closed
        payment."""

    def capture(self, charges: Sequence[Charge]) -> Outcomes:
        """Takes what is due of the authorized money, and releases the rest: `captured`, or `voided` if the
        authorization no longer exists.

        The first capture decides the amount. A later one has its outcome, even if less is due by then.
        """

    def void(self, charges: Sequence[Charge]) -> Outcomes:
        """Closes the payment: `voided`, or `captured` if the money was taken before.

        Afterwards the order has no open authorization, and no call in flight can create one.
        """

    def refund(self, repayments: Sequence[Repayment]) -> Outcomes:
        """Returns captured money, once per refund id and attempt: `refunded` or `failed`."""

    def find(self, charge: Charge) -> ProviderPayment | None:
        """The payment of an order; None if the provider has none. Raises ProviderUnavailable."""

    def list_since(self, moment: datetime) -> Iterator[ProviderPayment]:
        """All payments since the moment, oldest first if the provider can sort so. Raises
        ProviderUnavailable."""

    def event(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """The event of a webhook call from the provider.

        Checks the signature on the raw body in constant time, and that the event is at most five minutes old.
        Header names match in any case. Raises BadSignature, ValueError for a signed body that is not an
        event.
        """
