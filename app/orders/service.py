"""The operations of clients on orders: place, read, list, change the status, delete."""

import secrets
import time
from collections.abc import Container, Iterator
from datetime import datetime
from typing import Any, NamedTuple, NotRequired, TypedDict

import structlog

from app.errors import (
    Fault,
    IdempotencyKeyReused,
    IllegalTransition,
    InvalidInput,
    NotFound,
    OrderInTransit,
    OrderServiceError,
    OrderUnreadable,
    PartlyShipped,
    QuoteUsed,
    ReturnOpen,
)
from app.orders import OrderServices
from app.orders.beside_store import Idempotency, QuoteUse
from app.orders.commands import found, require_version
from app.orders.fields import PERSONAL, STATED
from app.orders.goods import Shipment, has_open_return, is_partly_shipped, shipments
from app.orders.history import as_of
from app.orders.holds import IN_THE_FUTURE, past_ends
from app.orders.log import first_bad_sequence
from app.orders.model import (
    Adjustment,
    Change,
    Line,
    Order,
    Origin,
    Personal,
    advance,
    allowed_to_clients,
    create,
    refundable,
)
from app.orders.numbers import new_numbered_id
from app.orders.pieces import requested
from app.orders.query_store import OrderQuery
from app.orders.reading import reading, reads_order
from app.orders.shipping import deliver_all, ship
from app.orders.shortages import BACKORDER, NOT_TAKEN, OUT_OF_STOCK, is_without_payment
from app.orders.states import CAPTURED, COMMANDS, OF_THE_SHOP, STATUS
from app.orders.store import KeyTaken, NumberTaken, QuoteTaken

log = structlog.get_logger(__name__)


class Draft(TypedDict):
    """A client's request for an order, valid by the API's schema. Amounts are in minor units."""

    userId: str
    products: list[Line]
    totalAmount: int
    currency: str
    adjustments: NotRequired[list[Adjustment]]
    paymentMethod: NotRequired[str]
    reference: NotRequired[str]
    email: NotRequired[str]
    shippingAddress: NotRequired[dict[str, str]]
    metadata: NotRequired[dict[str, str]]
    holds: NotRequired[list[dict[str, Any]]]
    onShortage: NotRequired[str]
    backorderUntil: NotRequired[datetime]


class Placed(NamedTuple):
    """The order of a POST. If `replayed`, an earlier POST with the same key created it. `answered` is the
    version that the answer shows, or None while that is still open."""

    order: Order
    answered: int | None
    keyed: bool
    replayed: bool = False


class Page(NamedTuple):
    """One page of a list. `next` is the id of the page's last item, or None on the last page."""

    items: list[Any]
    next: str | None


def place_order(
    services: OrderServices,
    draft: Draft,
    *,
    actor: str,
    key: str | None,
    digest: str,
    waits: bool = False,
    origin: Origin | None = None,
    quote: QuoteUse | None = None,
) -> Placed:
    """Stores a new order and its `order.created` event in one durable write.

    If several calls have the same key and digest, one creates the order and the others return it, `replayed`.
    `waits` says that the answer is given later and may show a later version than the first. The same write
    uses `quote`. Raises InvalidInput for a payment method that the provider does not support,
    IdempotencyKeyReused for a key that was used with another body, QuoteUsed, DatabaseUnavailable.
    """
    if not services.accepts(draft.get("paymentMethod")):
        raise InvalidInput(Fault("/paymentMethod", "must be a payment method of the provider"))
    if late := _past_times(draft, services.clock()):
        faults = (Fault(pointer, IN_THE_FUTURE) for pointer in late)
        return _replayed_or(InvalidInput(*faults), services, actor, key, digest)
    stated = _stated(draft, stock_first=services.stock_first)
    answered = None if waits else 1
    while True:
        at = services.clock()
        order = create(new_numbered_id(at), at, actor, stated, _personal(draft))
        if origin:
            order["origin"] = origin
        try:
            services.store.add(
                order, services.due_by(), Idempotency(actor, key, digest, answered) if key else None, quote
            )
        except NumberTaken:
            log.info("the number of a new order is taken, its id is drawn again")
        except QuoteTaken:
            # A POST with the same key may have used it.
            used = QuoteUsed(Fault("/quote", "must not have been used for another order"))
            return _replayed_or(used, services, actor, key, digest)
        except KeyTaken:
            # It is None only if the earlier order was purged in between. Then the key is free again.
            if replay := replayed(services, actor, key, digest):
                return replay
        else:
            return Placed(order, answered, keyed=key is not None)


def first_answer(services: OrderServices, placed: Placed, wait: float | None) -> Order:
    """The order as the answer to its POST shows it. Every replay shows the same version.

    That is version 1. With `wait` (seconds), it is a later one: after `pending`, or after the wait.
    """
    order_id = placed.order["id"]
    version = placed.answered
    try:
        with reading(order_id, OrderServiceError):
            if version is None:
                version = 1 if wait is None else _await_leaving_pending(services, placed.order, wait)
                if placed.keyed:
                    version = services.store.fix_answer(order_id, version)
            if version == placed.order["version"]:
                return placed.order
            # The order may be deleted or purged by now, but the POST did create it.
            for order in services.store.load_with_logs([order_id]):
                return _at_version(order, version)
    except OrderUnreadable:
        # An error would suggest that no order exists, and the client would create a second one.
        log.warning("answering with the first version of an unreadable order", order_id=order_id)
    return placed.order


def get_order(services: OrderServices, order_id: str) -> Order:
    """The present order. Raises NotFound."""
    return found(services.store.get(order_id))


def order_at_version(services: OrderServices, order_id: str, version: int) -> Order:
    """The order at a version, folded from its events. Raises NotFound if it never had this version."""
    return _at_version(_with_log(services, order_id), version)


def list_orders(services: OrderServices, query: OrderQuery) -> Iterator[Order]:
    """The orders that match the query, plus one if more follow. Reads them lazily."""
    return services.store.page(query)


@reads_order
def change_status(
    services: OrderServices,
    order_id: str,
    status: str,
    *,
    actor: str,
    tracking: dict[str, str] | None = None,
    detail: str | None = None,
    if_match: Container[int] | None = None,
) -> Order:
    """The order after a client's change of its status; unchanged if it has that status already.

    If concurrent changes exclude each other, one of them wins. `if_match` holds the versions that the caller
    accepts; None accepts any. `shipped` is one shipment of all open pieces, and `delivered` delivers all
    shipments. Raises NotFound, StaleVersion, IllegalTransition, PartlyShipped, TooManyShipments, OnHold,
    HistoryFull.
    """
    while True:
        order = found(services.store.with_tail(order_id))
        require_version(order, if_match)
        if order["status"] == status:
            return order
        if status == "cancelled" and is_partly_shipped(order):
            raise PartlyShipped
        allowed = allowed_to_clients(order)
        if status not in allowed:
            raise IllegalTransition(order["status"], status, allowed)
        match status:
            case "shipped":
                changes = ship(order, None, tracking)
            case "delivered":
                changes = deliver_all(order, shipments_of(services, order))
            case _:
                changes = cancellation(order, "requested", detail)
        after = advance(order, services.clock(), actor, changes, COMMANDS[status])
        if services.store.append(order, after, services.due_by()):
            return after


@reads_order
def delete_order(
    services: OrderServices, order_id: str, *, actor: str, if_match: Container[int] | None = None
) -> None:
    """Deletes the order for clients, and cancels it first if that is still possible.

    Raises NotFound, StaleVersion, ReturnOpen, OrderInTransit for an order of which a part is shipped,
    HistoryFull.
    """
    while True:
        order = found(services.store.with_tail(order_id))
        require_version(order, if_match)
        if has_open_return(order):
            raise ReturnOpen
        if order["status"] == "shipped" or is_partly_shipped(order):
            raise OrderInTransit("A shipped order cannot be deleted before it is delivered.")
        at = services.clock()
        cancels = "cancelled" in STATUS[order["status"]]
        changes = [
            *(cancellation(order, "requested") if cancels else []),
            Change("order.deleted", {"deletedAt": at}),
        ]
        if services.store.append(order, advance(order, at, actor, changes, "delete"), services.due_by()):
            return


def history(services: OrderServices, order_id: str) -> Order:
    """The order with its whole log. Raises NotFound."""
    return _with_log(services, order_id)


@reads_order
def verify(services: OrderServices, order_id: str) -> int | None:
    """The first sequence at which the order's log was altered, or None. Raises NotFound."""
    order = _with_log(services, order_id)
    return first_bad_sequence(order_id, order["events"], order["version"])


def cancellation(order: Order, reason: str, detail: str | None = None, **of_refund: Any) -> list[Change]:
    """The changes that cancel an order before it is shipped. They release stock that is not decremented yet,
    void a payment that was never asked for, and request a refund of the captured money that is left.
    `of_refund` are further fields of that refund."""
    data = {"reason": reason, "detail": detail} if detail else {"reason": reason}
    changes = [Change("order.cancelled", {"cancellation": data})]
    if order["stock"]["status"] in NOT_TAKEN:
        changes.append(Change("stock.released"))
    return [*changes, *_never_paid(order), *_rest_given_back(order, of_refund)]


def out_of_stock(order: Order, shortages: list[dict[str, Any]]) -> list[Change]:
    """The changes that cancel an order because its stock is short."""
    return [
        Change("stock.insufficient", {"shortages": shortages}),
        Change("order.cancelled", {"cancellation": {"reason": OUT_OF_STOCK}}),
        *_never_paid(order),
    ]


def _never_paid(order: Order) -> list[Change]:
    return [Change("payment.voided")] if is_without_payment(order) else []


def _rest_given_back(order: Order, of_refund: dict[str, Any]) -> list[Change]:
    amount, payment = refundable(order), order["payment"]
    # An order over nothing gets a refund over nothing, so that its payment ends as refunded too.
    if payment["status"] not in CAPTURED or (payment["capturedAmount"] and not amount):
        return []
    return [requested(order, amount, reason="The order was cancelled.", **of_refund)]


def shipments_of(services: OrderServices, order: Order) -> list[Shipment]:
    """The shipments of the order, oldest first. Reads the log of an order that an earlier release shipped."""
    is_earlier = "shipments" not in order and order["status"] in OF_THE_SHOP
    log = found(services.store.with_log(order["id"]))["events"] if is_earlier else ()
    return shipments(order, log)


def page_of(found: list[Any], limit: int, id_field: str) -> Page:
    """A page of `limit` items, from up to `limit + 1` items: one more says that another page follows."""
    items = found[:limit]
    return Page(items, items[-1][id_field] if len(found) > limit else None)


def _past_times(draft: Draft, now: datetime) -> list[str]:
    """The pointers to the times that have to be in the future and are not."""
    late = [f"/holds/{position}/until" for position in past_ends(draft.get("holds", ()), now)]
    if "backorderUntil" in draft and draft["backorderUntil"] <= now:
        late.append("/backorderUntil")
    return late


def _stated(draft: Draft, *, stock_first: bool) -> dict[str, Any]:
    """The data of `order.created`. An empty list of holds is none."""
    stated = {field: draft[field] for field in STATED if field in draft}  # type: ignore[literal-required]
    if not stated.get("holds"):
        stated.pop("holds", None)
    if stock_first or draft.get("onShortage") == BACKORDER:
        stated["stockFirst"] = True
    return stated


def _personal(draft: Draft) -> Personal | None:
    known: Any = {field: draft[field] for field in PERSONAL if field in draft}  # type: ignore[literal-required]
    if not known:
        return None
    known["salt"] = secrets.token_hex(16)
    return known


def _replayed_or(
    refusal: InvalidInput, services: OrderServices, actor: str, key: str | None, digest: str
) -> Placed:
    """The order that an earlier POST with the key created. Raises the refusal if there was no such POST."""
    if replay := replayed(services, actor, key, digest):
        return replay
    raise refusal


def replayed(services: OrderServices, actor: str, key: str | None, digest: str) -> Placed | None:
    """The order that an earlier POST with the key created, or None. Raises IdempotencyKeyReused."""
    earlier = services.store.under_key(actor, key) if key else None
    if earlier is None:
        return None
    order, posted = earlier
    if digest != posted.digest:
        raise IdempotencyKeyReused("The Idempotency-Key was used before with a different body.")
    return Placed(_at_version(order, posted.answered or 1), posted.answered, keyed=True, replayed=True)


def _await_leaving_pending(services: OrderServices, order: Order, seconds: float) -> int:
    """The order's version after it leaves `pending`, or when the time is over."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    present: Order | None = order
    while present and present["status"] == "pending" and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, 0.25)
        present = services.store.get(order["id"])
    return present["version"] if present else order["version"]


def _with_log(services: OrderServices, order_id: str) -> Order:
    return found(services.store.with_log(order_id))


def _at_version(order: Order, version: int) -> Order:
    with reading(order["id"], NotFound):
        if not 1 <= version <= order["version"]:
            raise NotFound("The order does not have this version.")
    return as_of(order, version)
