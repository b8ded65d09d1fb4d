"""What a client does with orders: place, look at, list, change the status of, delete."""

import secrets
import time
from collections.abc import Container, Iterator
from typing import Any, NamedTuple, NotRequired, TypedDict

import structlog

from app.clock import new_id
from app.errors import (
    Fault,
    IdempotencyKeyReused,
    IllegalTransition,
    InvalidInput,
    NotFound,
    OrderInTransit,
    OrderUnreadable,
    StaleVersion,
)
from app.orders import OrderServices
from app.orders.fields import PERSONAL, STATED
from app.orders.log import first_bad_sequence
from app.orders.model import (
    Change,
    Line,
    Order,
    Origin,
    Personal,
    advance,
    allowed_to_clients,
    create,
    fold,
    refundable,
)
from app.orders.query_store import OrderQuery
from app.orders.reading import reading
from app.orders.refunds import next_id
from app.orders.states import CAPTURED, STATUS
from app.orders.store import Idempotency, KeyTaken

log = structlog.get_logger(__name__)

# By the status that a client asks for.
_COMMANDS = {"shipped": "ship", "delivered": "deliver", "cancelled": "cancel"}


class Draft(TypedDict):
    """An order as a client wants it; amounts in minor units, all of it valid by the API's schema."""

    userId: str
    products: list[Line]
    totalAmount: int
    currency: str
    paymentMethod: NotRequired[str]
    reference: NotRequired[str]
    email: NotRequired[str]
    shippingAddress: NotRequired[dict[str, str]]
    metadata: NotRequired[dict[str, str]]


class Placed(NamedTuple):
    """The order that a POST made or, when `replayed`, had made; `answered` is the version that the answer
    shows, None as long as that is not decided."""

    order: Order
    answered: int | None
    keyed: bool
    replayed: bool = False


class Page(NamedTuple):
    """A page of a listing; `next` is the last item's id while there is more behind it."""

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
) -> Placed:
    """Accepts an order: durable, with its `order.created` event, in one write.

    Of any number of calls with one key and digest, one makes the order and the others get it, `replayed`.
    `waits` says that the answer will be given later, and may show a later version than the first.
    Raises InvalidInput for a payment method that the provider does not know, IdempotencyKeyReused for a key
    that came with another body, DatabaseUnavailable.
    """
    if not services.accepts(draft.get("paymentMethod")):
        raise InvalidInput(Fault("/paymentMethod", "is not a payment method of the provider"))
    stated = {field: draft[field] for field in STATED if field in draft}  # type: ignore[literal-required]
    answered = None if waits else 1
    while True:
        at = services.clock()
        order = create(new_id(at), at, actor, stated, _personal(draft))
        if origin:
            order["origin"] = origin
        try:
            services.store.add(
                order, services.due_by(), Idempotency(actor, key, digest, answered) if key else None
            )
        except KeyTaken:
            # None only where the earlier order was purged in between: then the key is free again.
            if replay := _replay(services, actor, key or "", digest):
                return replay
        else:
            return Placed(order, answered, keyed=key is not None)


def first_answer(services: OrderServices, placed: Placed, wait: float | None) -> Order:
    """The order as the answer to its POST shows it, the same for every replay.

    That is version 1, or with `wait` (seconds) the order once it has left `pending` or the time is over.
    """
    order_id = placed.order["id"]
    version = placed.answered
    try:
        if version is None:
            version = 1 if wait is None else _await_leaving_pending(services, placed.order, wait)
            if placed.keyed:
                version = services.store.fix_answer(order_id, version)
        if version == placed.order["version"]:
            return placed.order
        # The order may have been deleted, or even purged, while this answer waited; it was made all the same.
        for order in services.store.load_with_logs([order_id]):
            return _at_version(order, version)
    except OrderUnreadable:
        # A refusal would say that there is no order, and a second POST would make a second one.
        log.warning("answering with the order as it was made", order_id=order_id)
    return placed.order


def get_order(services: OrderServices, order_id: str) -> Order:
    """The order as it is now. Raises NotFound."""
    return found(services.store.get(order_id))


def order_at_version(services: OrderServices, order_id: str, version: int) -> Order:
    """The order as it was at a version, folded from its events. Raises NotFound past either end."""
    return _at_version(_with_log(services, order_id), version)


def list_orders(services: OrderServices, query: OrderQuery) -> Iterator[Order]:
    """The orders that the query asks for, and one more if there are more; read as they are taken."""
    return services.store.page(query)


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

    Of several changes at once that exclude each other one wins. `if_match` holds the versions that the
    caller accepts; None accepts any. Raises NotFound, StaleVersion, IllegalTransition, HistoryFull.
    """
    while True:
        order = found(services.store.with_tail(order_id))
        _require_version(order, if_match)
        if order["status"] == status:
            return order
        allowed = allowed_to_clients(order["status"])
        if status not in allowed:
            raise IllegalTransition(order["status"], status, allowed)
        if status == "cancelled":
            changes = cancellation(order, "requested", detail)
        else:
            changes = [Change(f"order.{status}", {"tracking": tracking} if tracking else {})]
        after = advance(order, services.clock(), actor, changes, _COMMANDS[status])
        if services.store.append(order, after, services.due_by()):
            return after


def delete_order(
    services: OrderServices, order_id: str, *, actor: str, if_match: Container[int] | None = None
) -> None:
    """Takes the order out of the API, cancelled first where that is still possible.

    Raises NotFound, StaleVersion, OrderInTransit for a shipped one, HistoryFull.
    """
    while True:
        order = found(services.store.with_tail(order_id))
        _require_version(order, if_match)
        if order["status"] == "shipped":
            raise OrderInTransit("An order on its way cannot be deleted before it is delivered.")
        at = services.clock()
        cancels = "cancelled" in STATUS[order["status"]]
        changes = [
            *(cancellation(order, "requested") if cancels else []),
            Change("order.deleted", {"deletedAt": at}),
        ]
        if services.store.append(order, advance(order, at, actor, changes, "delete"), services.due_by()):
            return


def history(services: OrderServices, order_id: str) -> Order:
    """The order with every event it ever went through. Raises NotFound."""
    return _with_log(services, order_id)


def verify(services: OrderServices, order_id: str) -> int | None:
    """The first sequence of the order's log that is not as it was written; None when all is intact.

    Raises NotFound.
    """
    order = _with_log(services, order_id)
    with reading(order_id):
        return first_bad_sequence(order_id, order["events"], order["version"])


def cancellation(order: Order, reason: str, detail: str | None = None) -> list[Change]:
    """The changes that end an order before it is shipped: stock not yet taken is released with it, and what
    is left of captured money is asked back as any other refund."""
    told = {"reason": reason, "detail": detail} if detail else {"reason": reason}
    changes = [Change("order.cancelled", {"cancellation": told})]
    if order["stock"]["status"] == "pending":
        changes.append(Change("stock.released"))
    return [*changes, *_rest_given_back(order)]


def _rest_given_back(order: Order) -> list[Change]:
    amount, payment = refundable(order), order["payment"]
    # An order that cost nothing has nothing left either, and is refunded all the same.
    if payment["status"] not in CAPTURED or (payment["capturedAmount"] and not amount):
        return []
    asked = {"refundId": next_id(order["id"], order.get("refunds", ())), "amount": amount}
    return [Change("refund.requested", {**asked, "reason": "The order was cancelled."})]


def found(order: Order | None) -> Order:
    """The order. Raises NotFound where there is none."""
    if order is None:
        raise NotFound("There is no such order.")
    return order


def page_of(found: list[Any], limit: int, id_field: str) -> Page:
    """A page out of up to `limit + 1` items."""
    items = found[:limit]
    return Page(items, items[-1][id_field] if len(found) > limit else None)


def _personal(draft: Draft) -> Personal | None:
    known: Any = {field: draft[field] for field in PERSONAL if field in draft}  # type: ignore[literal-required]
    if not known:
        return None
    known["salt"] = secrets.token_hex(16)
    return known


def _replay(services: OrderServices, actor: str, key: str, digest: str) -> Placed | None:
    earlier = services.store.under_key(actor, key)
    if earlier is None:
        return None
    order, posted = earlier
    if digest != posted.digest:
        raise IdempotencyKeyReused("This idempotency key was used with another body.")
    return Placed(_at_version(order, posted.answered or 1), posted.answered, keyed=True, replayed=True)


def _await_leaving_pending(services: OrderServices, order: Order, seconds: float) -> int:
    """The order's version once it is no longer pending, or when the time is over."""
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
    if not 1 <= version <= order["version"]:
        raise NotFound("The order never had this version.")
    with reading(order["id"]):
        past = fold(order["id"], order["events"][:version])
    if "personal" in order:
        past["personal"] = order["personal"]
    return past


def _require_version(order: Order, if_match: Container[int] | None) -> None:
    if if_match is not None and order["version"] not in if_match:
        raise StaleVersion(order["version"])
