"""The expected refusals of a request. `app.http.problems` maps each of them to an HTTP answer."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.money import to_text


class Fault(NamedTuple):
    """One invalid part of the input: a JSON pointer (RFC 6901) to it, and the reason."""

    pointer: str
    detail: str


class OrderServiceError(Exception):
    """The base of every expected refusal."""


class InvalidInput(OrderServiceError):
    """Well-formed input that breaks a rule. It carries every fault, not just the first."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
        self.faults = faults


class MistypedNumber(InvalidInput):
    """The text cannot be the number of an order."""


class QuoteRequired(InvalidInput):
    """The caller may not set prices, and the order has no quote."""


class QuoteInvalid(InvalidInput):
    """The quote cannot be verified, or its basket breaks a rule."""


class QuoteExpired(InvalidInput):
    """The quote's time is over."""


class QuoteUsed(InvalidInput):
    """Another order has used the quote."""


class QuoteDiffers(InvalidInput):
    """The request repeats members of the quote with other values."""


class NotFound(OrderServiceError):
    """The resource does not exist, or the caller may not see it."""


class NotSignedIn(OrderServiceError):
    """The request has no valid token. `fault` says what is wrong with it; None if it is missing."""

    def __init__(self, fault: str | None = None) -> None:
        super().__init__(fault or "A token is required. Send it in the Authorization header: Bearer <token>.")
        self.fault = fault


class NotAllowed(OrderServiceError):
    """The caller lacks `scope`, which the request needs."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This request needs the scope {scope}.")
        self.scope = scope


class IssuerUnavailable(OrderServiceError):
    """The issuer's keys cannot be fetched, so none of its tokens or quotes can be verified."""


class Forged(Exception):
    """The signature or a claim of a signed text is not valid."""


class Expired(Exception):
    """A signed text was valid, but its time is over."""


class OrderUnreadable(OrderServiceError):
    """A stored order cannot be decoded, rebuilt from its events or shown; its document is damaged."""

    def __init__(self, order_id: str) -> None:
        super().__init__("The stored order is damaged. The error has been logged.")
        self.order_id = order_id


class IllegalTransition(OrderServiceError):
    """The status of an order, or of a part of it, forbids the change. `allowed` lists the statuses that a
    client may request now."""

    def __init__(self, present: str, wanted: str, allowed: Sequence[str], what: str = "order") -> None:
        super().__init__(f"The {what} is {present} and cannot be {wanted}.")
        self.allowed = allowed


class OrderInTransit(OrderServiceError):
    """A shipped order cannot be deleted before it is delivered."""


class PartlyShipped(OrderServiceError):
    """An order that is shipped in part cannot be cancelled as a whole."""

    def __init__(self) -> None:
        super().__init__("A part of the order is shipped. Cancel the open pieces instead of the order.")


class ReturnOpen(OrderServiceError):
    """The order has a return that is requested or approved."""

    def __init__(self) -> None:
        super().__init__("The order has a return that is not finished. Close or cancel it first.")


class NothingOpen(OrderServiceError):
    """More pieces are named than are neither shipped nor cancelled. `left` has those, by line."""

    def __init__(self, left: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("These pieces are not open. `open` has the pieces that are.")
        self.left = left


class PiecesReturned(OrderServiceError):
    """Pieces of the shipment are in a return."""

    def __init__(self) -> None:
        super().__init__("Pieces of the shipment are in a return, so it cannot be cancelled.")


class TooManyShipments(OrderServiceError):
    """The order has the maximum number of shipments. Cancelled ones count."""

    def __init__(self, most: int) -> None:
        super().__init__(f"An order can have at most {most} shipments. Cancelled ones count.")


class AlreadyShipped(OrderServiceError):
    """The correction is only allowed until the first shipment."""


class OnHold(OrderServiceError):
    """The holds in `holds` block the change."""

    def __init__(self, holds: Sequence[Mapping[str, Any]]) -> None:
        codes = ", ".join(hold["code"] for hold in holds)
        super().__init__(f"The order is on hold ({codes}). Release the holds in `holds` first.")
        self.holds = holds


class NothingToHold(OrderServiceError):
    """The order is shipped or has ended, so a hold has no effect."""


class TooManyHolds(OrderServiceError):
    """The order has the maximum number of holds."""


class TooManyNotes(OrderServiceError):
    """The order has the maximum number of notes. Erased ones count."""


class NothingReturnable(OrderServiceError):
    """These pieces cannot come back. `returnable` lists those that can, by line."""

    def __init__(self, detail: str, returnable: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(detail)
        self.returnable = returnable


class NotDelivered(NothingReturnable):
    """Customers can return pieces only after their delivery."""


class TooLate(NothingReturnable):
    """The time in which customers can return the pieces is over."""


class TooManyReturns(OrderServiceError):
    """The order has the maximum number of returns, or of lines or text in them. Ended ones count."""


class TooManyCancellations(OrderServiceError):
    """The order has the maximum number of part cancellations, or of lines in them."""


class StaleVersion(OrderServiceError):
    """The order's version is not one that `If-Match` names."""

    def __init__(self, present: int) -> None:
        super().__init__(f"If-Match does not name the current version of the order, which is {present}.")
        self.present = present


class IdempotencyKeyReused(OrderServiceError):
    """The idempotency key was used before with a different body."""


class InsufficientStock(OrderServiceError):
    """The adjustment would take the level below zero."""

    def __init__(self, product_id: str, on_hand: int) -> None:
        super().__init__(f"The adjustment would take the level below 0. {product_id} has {on_hand} on hand.")
        self.on_hand = on_hand


class NotRefundable(OrderServiceError):
    """The order has no captured payment to refund."""


class RefundTooLarge(OrderServiceError):
    """The amount exceeds `left`, the captured money that is not refunded yet, in minor units."""

    def __init__(self, left: int, currency: str) -> None:
        super().__init__(f"At most {to_text(left, currency)} {currency} can be refunded.")
        self.left = left
        self.currency = currency


class NothingToRefund(OrderServiceError):
    """The refund comes to 0 or less."""


class RefundNotFailed(OrderServiceError):
    """Only a failed refund can be retried."""


class TooManyRefunds(OrderServiceError):
    """The order has the maximum number of refunds, or of lines in them."""


class TooManyRetries(OrderServiceError):
    """The refund has had the maximum number of retries."""


class HistoryFull(OrderServiceError):
    """The order has too many events, or too many of this kind, for one more change."""

    def __init__(self, count: int, kind: str = "events") -> None:
        super().__init__(f"The order has {count} {kind}, too many for this change.")


class TooManyEndpoints(OrderServiceError):
    """The maximum number of webhook endpoints exists already."""


class TooManyTestEvents(OrderServiceError):
    """The webhook endpoint had too many test events in the last minute; `wait` is in seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"The endpoint has had too many test events. Try again in {wait} seconds.")
        self.wait = wait


class EndpointDisabled(OrderServiceError):
    """The webhook endpoint is disabled, so nothing is sent to it."""


class ClockIsMoving(OrderServiceError):
    """Another call moves the time of the test clock."""

    def __init__(self) -> None:
        super().__init__("Another call moves the time. Send this one again when that one is answered.")


class DatabaseUnavailable(OrderServiceError):
    """The database cannot be reached or did not confirm the write. No write is partial."""


class StockBusy(DatabaseUnavailable):
    """Another transaction holds the stock that this one needs. Nothing has changed."""


class ProviderUnavailable(Exception):
    """The payment provider cannot be reached now."""
