"""The operations on returns: announce, approve, reject, cancel, receive, close, read."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from app.orders import OrderServices
from app.orders.commands import Carried, Decision, Request, carry_out, found
from app.orders.goods import Return
from app.orders.model import Change, Order
from app.orders.reading import reads_order
from app.orders.service import get_order
from app.returns.decisions import announced, approved, ended, find, received

# The command that ends a return, by its name in `bounds.LIMITS`, for each status.
_ENDS = {"rejected": "reject_return", "cancelled": "cancel_return", "closed": "close_return"}


class OrderReturn(NamedTuple):
    """A return with its order. If `replayed`, an earlier request with the same key did the command."""

    order: Order
    found: Return
    replayed: bool = False


@reads_order
def announce_return(
    services: OrderServices,
    order_id: str,
    draft: Mapping[str, Any],
    request: Request,
    *,
    window: timedelta | None,
) -> OrderReturn:
    """Announces the return of shipped pieces, which are reserved for it from then on.

    `window` is the time from the delivery on in which customers can return pieces, or None for the shop.
    Raises as `announced` and `carry_out` do.
    """

    def decide(order: Order) -> Decision:
        # An order that an earlier release delivered has the time of its delivery in its log alone.
        is_old = window is not None and "shipments" not in order
        log = found(services.store.with_log(order["id"]))["events"] if is_old else ()
        change = announced(order, draft, services.clock(), window, log)
        return Decision([change], made=change.data["returnId"])

    carried = carry_out(services, order_id, "create_return", request, decide)
    return _found(carried, carried.made)


@reads_order
def approve_return(
    services: OrderServices, order_id: str, return_id: str, amount: Decimal | None, request: Request
) -> OrderReturn:
    """Approves the return. Raises NotFound, and as `approved` and `carry_out` do."""
    return _changed(
        services,
        order_id,
        return_id,
        "approve_return",
        request,
        lambda order, one: approved(order, one, amount),
    )


@reads_order
def end_return(
    services: OrderServices,
    order_id: str,
    return_id: str,
    status: str,
    request: Request,
    reason: str | None = None,
) -> OrderReturn:
    """Rejects, cancels or closes the return. What did not come can be announced again.

    Raises NotFound, and as `ended` and `carry_out` do.
    """
    return _changed(
        services, order_id, return_id, _ENDS[status], request, lambda _, one: ended(one, status, reason)
    )


@reads_order
def receive_return(
    services: OrderServices, order_id: str, return_id: str, draft: Mapping[str, Any], request: Request
) -> OrderReturn:
    """Receives a parcel of an approved return. Raises NotFound, and as `received` and `carry_out` do."""
    return _changed(
        services,
        order_id,
        return_id,
        "receive_return",
        request,
        lambda order, one: received(order, one, draft),
    )


@reads_order
def get_return(services: OrderServices, order_id: str, return_id: str) -> OrderReturn:
    """A return of an order in its present state. Raises NotFound."""
    order = get_order(services, order_id)
    return OrderReturn(order, find(order, return_id))


def _changed(
    services: OrderServices,
    order_id: str,
    return_id: str,
    command: str,
    request: Request,
    change: Callable[[Order, Return], list[Change]],
) -> OrderReturn:
    def decide(order: Order) -> Decision | None:
        changes = change(order, find(order, return_id))
        return Decision(changes) if changes else None

    return _found(carry_out(services, order_id, command, request, decide), return_id)


def _found(carried: Carried, return_id: str | None) -> OrderReturn:
    return OrderReturn(carried.order, find(carried.order, return_id), carried.replayed)
