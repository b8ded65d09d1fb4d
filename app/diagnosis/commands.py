"""The commands that would change an order now, each tried by a dry run."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any, TypedDict

from app.cancellations.service import Draft, create_cancellation
from app.corrections.service import add_note, amend, tag
from app.dry_run.service import rehearse
from app.errors import DatabaseUnavailable, NotFound, OrderServiceError
from app.holds.service import place_hold, release_hold
from app.orders.commands import Request
from app.orders.goods import (
    LinePieces,
    Return,
    numbered,
    open_pieces,
    received,
    returnable,
    shipments,
    shipped,
    summed,
)
from app.orders.goods_fields import ON_APPROVAL, ON_RECEIPT, RESELLABLE
from app.orders.holds import BLOCKS, RELEASE, find
from app.orders.model import Order
from app.orders.reading import reading
from app.orders.service import change_status, delete_order
from app.orders.states import COMMANDS as TO_STATUSES
from app.refunds.service import request_refund
from app.returns.model import beyond
from app.returns.service import announce_return, approve_return, end_return, receive_return
from app.shipments.service import cancel_shipment, correct_shipment, create_shipment, deliver_shipment

if TYPE_CHECKING:
    from app.services import Services

# Gives the command, with as few arguments as it can have, to the services of a dry run.
Call = Callable[["Services", Order, str], object]


class Possible(TypedDict):
    """A command that would change the order, and the types of all events that would follow."""

    command: str
    sets: list[str]


def _change_to(status: str) -> Call:
    return lambda services, order, actor: change_status(services.orders, order["id"], status, actor=actor)


def _amend(services: "Services", order: Order, actor: str) -> None:
    patch = {"reference": None if "reference" in order else "reference"}
    amend(services.orders, order["id"], patch, Request(actor), by_shop=True)


def _note(services: "Services", order: Order, actor: str) -> None:
    add_note(services.orders, order["id"], "note", "internal", Request(actor))


def _tag(services: "Services", order: Order, actor: str) -> None:
    tag(services.orders, order["id"], [] if "tags" in order else ["tag"], Request(actor))


def _hold(services: "Services", order: Order, actor: str) -> None:
    code = next(code for code in map("hold_{}".format, count(1)) if not find(order, code))
    draft = {"code": code, "blocks": list(BLOCKS), "then": RELEASE}
    place_hold(services.orders, order["id"], draft, Request(actor))


def _release(services: "Services", order: Order, actor: str) -> None:
    for hold in order.get("holds", ())[:1]:
        release_hold(services.orders, order["id"], hold["code"], None, Request(actor))


def _cancel_pieces(services: "Services", order: Order, actor: str) -> None:
    for some in numbered(open_pieces(order))[:1]:
        is_priced = "unitPrice" in order["products"][some["line"] - 1]
        draft: Draft = {"products": [{**some, "quantity": 1}]}
        if not is_priced:
            draft["amount"] = Decimal(0)
        create_cancellation(services.orders, order["id"], draft, Request(actor))


def _shipment(order: Order) -> str:
    """The id of the newest shipment that is under way, or of the newest one. Empty if there are none."""
    there = shipments(order)
    under_way = [one for one in there if one["status"] == "shipped"]
    ids = [one["id"] for one in under_way or there]
    return ids[-1] if ids else ""


def _correct(services: "Services", order: Order, actor: str) -> None:
    patch = {"tracking": None if "tracking" in order else {"carrier": "carrier"}}
    correct_shipment(services.orders, order["id"], _shipment(order), patch, Request(actor))


def _create_return(services: "Services", order: Order, actor: str) -> None:
    pieces = numbered([min(1, left) for left in returnable(order)])[:1]
    if not pieces:
        raise NotFound("The order has no such pieces.")
    announce_return(services.orders, order["id"], {"products": pieces}, Request(actor), window=None)


def _approve_return(services: "Services", order: Order, actor: str) -> None:
    one = _return_in(order, "requested")
    wanted = one["products"] if one["refund"] == ON_APPROVAL else []
    amount = _amount_for(order, wanted)
    approve_return(services.orders, order["id"], one["id"], amount, Request(actor))


def _receive_return(services: "Services", order: Order, actor: str) -> None:
    """All that is announced and can still come, or else any piece."""
    one = _return_in(order, "approved")
    left = [out - back for out, back in zip(shipped(order), received(order), strict=True)]
    waiting = zip(summed(order, [one]), summed(order, one["receipts"]), left, strict=True)
    pieces = numbered([min(expected - back, most) for expected, back, most in waiting]) or numbered(left)[:1]
    wanted = {ON_RECEIPT: pieces, ON_APPROVAL: beyond(order, one, pieces)}.get(one["refund"], [])
    draft: dict[str, Any] = {"products": [{**some, "condition": RESELLABLE} for some in pieces]}
    if (amount := _amount_for(order, wanted)) is not None:
        draft["amount"] = amount
    receive_return(services.orders, order["id"], one["id"], draft, Request(actor))


def _end_return(status: str, *begun: str) -> Call:
    def call(services: "Services", order: Order, actor: str) -> None:
        one = _return_in(order, *begun)
        reason = "reason" if status == "rejected" else None
        end_return(services.orders, order["id"], one["id"], status, Request(actor), reason)

    return call


def _return_in(order: Order, *statuses: str) -> Return:
    """The first return in one of these statuses. Raises NotFound."""
    for one in order.get("returns", ()):
        if one["status"] in statuses:
            return one
    raise NotFound("The order has no such return.")


def _amount_for(order: Order, pieces: Sequence[LinePieces]) -> Decimal | None:
    """The amount that a refund of these pieces needs, the least of all; None if each has a price."""
    unpriced = any("unitPrice" not in order["products"][some["line"] - 1] for some in pieces)
    return Decimal(0) if unpriced else None


_CALLS: dict[str, Call] = {
    **{command: _change_to(status) for status, command in TO_STATUSES.items()},
    "delete": lambda services, order, actor: delete_order(services.orders, order["id"], actor=actor),
    "refund": lambda services, order, actor: request_refund(
        services.orders, order["id"], {}, actor=actor, key=None, digest=""
    ),
    "create_cancellation": _cancel_pieces,
    "create_shipment": lambda services, order, actor: create_shipment(
        services.orders, order["id"], {}, Request(actor)
    ),
    "correct_shipment": _correct,
    "deliver_shipment": lambda services, order, actor: deliver_shipment(
        services.orders, order["id"], _shipment(order), Request(actor)
    ),
    "cancel_shipment": lambda services, order, actor: cancel_shipment(
        services.orders, order["id"], _shipment(order), Request(actor)
    ),
    "amend": _amend,
    "note": _note,
    "tag": _tag,
    "hold": _hold,
    "release": _release,
    "create_return": _create_return,
    "approve_return": _approve_return,
    "reject_return": _end_return("rejected", "requested"),
    "cancel_return": _end_return("cancelled", "requested", "approved"),
    "receive_return": _receive_return,
    "close_return": _end_return("closed", "approved"),
}
COMMANDS = tuple(_CALLS)


def possible_commands(services: "Services", order: Order, actor: str) -> list[Possible]:
    """The shop's commands that would succeed and change something. Raises DatabaseUnavailable."""
    found: list[Possible] = []
    for command, call in _CALLS.items():
        try:
            with reading(order["id"], OrderServiceError):
                run = rehearse(services, lambda others, call=call: call(others, order, actor), order)  # type: ignore[misc]
        except DatabaseUnavailable:
            raise
        except OrderServiceError:
            continue
        if run.events:
            found.append(
                {"command": command, "sets": [event["type"] for event in (*run.events, *run.follow)]}
            )
    return found
