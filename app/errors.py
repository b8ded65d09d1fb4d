"""What can be wrong with a request, as plain facts; the API gives each of them its HTTP answer."""

from typing import NamedTuple

from app.money import to_text


class Fault(NamedTuple):
    """One thing wrong with the input: a JSON pointer (RFC 6901) to it, and why."""

    pointer: str
    detail: str


class OrderServiceError(Exception):
    """The base of every expected refusal."""


class InvalidInput(OrderServiceError):
    """Well-formed input that breaks a rule; carries every fault found, not just the first."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
        self.faults = faults


class NotFound(OrderServiceError):
    """No such thing, or not one the caller may see."""


class NotSignedIn(OrderServiceError):
    """The call does not tell who calls; `fault` says what is wrong with its token, None where it has none."""

    def __init__(self, fault: str | None = None) -> None:
        super().__init__(fault or "Send a token: Authorization: Bearer ….")
        self.fault = fault


class NotAllowed(OrderServiceError):
    """The caller may not do that; `scope` is the one that would let him."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"That needs the scope {scope}.")
        self.scope = scope


class IssuerUnavailable(OrderServiceError):
    """The keys that tokens are verified with cannot be had, so nobody can be told from anybody else."""


class OrderUnreadable(OrderServiceError):
    """A stored order cannot be decoded, rebuilt from its events or shown; its document is damaged."""

    def __init__(self, order_id: str) -> None:
        super().__init__("The order cannot be read. The fault is on our side and has been noted.")
        self.order_id = order_id


class IllegalTransition(OrderServiceError):
    """The order's status forbids the change; `allowed` lists the statuses a client may ask for now."""

    def __init__(self, present: str, wanted: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"An order that is {present} cannot become {wanted}.")
        self.allowed = allowed


class OrderInTransit(OrderServiceError):
    """A shipped order cannot be deleted before it is delivered."""


class StaleVersion(OrderServiceError):
    """The caller's `If-Match` names a version that is no longer the present one."""

    def __init__(self, present: int) -> None:
        super().__init__(f"The order is at version {present}.")
        self.present = present


class IdempotencyKeyReused(OrderServiceError):
    """The key was used before with another body."""


class InsufficientStock(OrderServiceError):
    """The adjustment would take the level below zero."""

    def __init__(self, product_id: str, on_hand: int) -> None:
        super().__init__(f"{product_id} has {on_hand} on hand.")
        self.on_hand = on_hand


class NotRefundable(OrderServiceError):
    """Nothing of the order has been captured that could be given back."""


class RefundTooLarge(OrderServiceError):
    """More is asked back than is left of what was captured: `left`, in minor units of the currency."""

    def __init__(self, left: int, currency: str) -> None:
        super().__init__(f"{to_text(left, currency)} {currency} is left to be refunded.")
        self.left = left
        self.currency = currency


class RefundNotFailed(OrderServiceError):
    """Only a refund that has failed can be tried again."""


class TooManyRefunds(OrderServiceError):
    """The order has as many refunds as it may have."""


class TooManyRetries(OrderServiceError):
    """The refund was retried as often as it may be."""


class HistoryFull(OrderServiceError):
    """The log of the order, at this version, has no room for the command."""

    def __init__(self, version: int) -> None:
        super().__init__(f"The order has {version} events, which leaves no room for this change.")


class TooManyEndpoints(OrderServiceError):
    """There are as many webhook endpoints as there may be."""


class TooManyTestEvents(OrderServiceError):
    """The webhook endpoint got as many test events as it may in so short a time; `wait` is in seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__("The endpoint gets no more test events for now.")
        self.wait = wait


class EndpointDisabled(OrderServiceError):
    """Nothing is sent to the webhook endpoint before it is enabled again."""


class DatabaseUnavailable(OrderServiceError):
    """The database cannot be reached, or could not confirm the write; nothing is half-done."""


class StockBusy(DatabaseUnavailable):
    """Another transaction holds the stock that this one needs. Nothing is half-done."""


class ProviderUnavailable(Exception):
    """The provider cannot be asked now."""
