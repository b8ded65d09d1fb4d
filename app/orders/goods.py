"""The goods of an order: its shipments, part cancellations and returns, and their pieces of each line.

Functions that count pieces return one number for each line, in the order of the lines. Shipped and cancelled
pieces together never exceed the ordered ones, and returned pieces never the shipped ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NotRequired, TypedDict

from app.errors import Fault, InvalidInput
from app.orders.log import Event

# A return in these states still waits for what it announced.
RUNNING = ("requested", "approved")


class LinePieces(TypedDict):
    """Pieces of a line. Lines are numbered from 1."""

    line: int
    quantity: int


class Shipment(TypedDict):
    """One shipment. `corrections` counts those of its tracking."""

    id: str
    status: str
    products: list[LinePieces]
    createdAt: datetime
    updatedAt: datetime
    tracking: NotRequired[dict[str, str]]
    corrections: NotRequired[int]
    deliveredAt: NotRequired[datetime]


class PartCancellation(TypedDict):
    """One cancellation of pieces. `amount` is in minor units of the order's currency.

    `refundId` is the refund that returns the amount, if it was captured. `lowers` is present if the
    cancellation lowers the amount to capture. `restocked` says whether the pieces are back in the stock; it
    is absent if they never left it.
    """

    id: str
    products: list[LinePieces]
    amount: int
    createdAt: datetime
    reason: NotRequired[str]
    refundId: NotRequired[str]
    lowers: NotRequired[bool]
    restocked: NotRequired[bool]


class ReturnedPieces(TypedDict):
    """Pieces of a line that a return announces."""

    line: int
    quantity: int
    reason: NotRequired[str]


class ReceivedPieces(TypedDict):
    """Pieces of a line that came back. `condition` says whether they can be sold again."""

    line: int
    quantity: int
    condition: str


class Receipt(TypedDict):
    """One parcel of a return. `unannounced` are those of its pieces that the return did not announce.

    `refundId` is the refund of its pieces, and `amount` that refund's amount in minor units. `restocked` is
    present once its resellable pieces are back in the stock.
    """

    receipt: int
    products: list[ReceivedPieces]
    at: datetime
    unannounced: NotRequired[list[LinePieces]]
    amount: NotRequired[int]
    refundId: NotRequired[str]
    restocked: NotRequired[bool]


class Return(TypedDict):
    """One return. `refund` says when its money is given back.

    `amount`, in minor units, is present if a line has no price.
    """

    id: str
    status: str
    products: list[ReturnedPieces]
    refund: str
    receipts: list[Receipt]
    createdAt: datetime
    updatedAt: datetime
    note: NotRequired[str]
    amount: NotRequired[int]
    refundId: NotRequired[str]
    rejection: NotRequired[dict[str, str]]


# An order, or its state in a fold.
_Order = Mapping[str, Any]


def ordered(order: _Order) -> list[int]:
    """The pieces that were ordered."""
    return [line["quantity"] for line in order["products"]]


def cancelled(order: _Order) -> list[int]:
    """The pieces that part cancellations took off the order."""
    return summed(order, order.get("cancellations", ()))


def shipments(order: _Order, log: Iterable[Event] = ()) -> list[Shipment]:
    """The shipments of the order, oldest first.

    Earlier releases ship and deliver an order without storing a shipment. Such an order has one of all
    pieces, and all shipments of a delivered order are delivered. `log` has their times; the time of the last
    change stands in for missing ones.
    """
    stored: list[Shipment] = [*order.get("shipments", ())]
    status = order["status"]
    if status not in ("shipped", "delivered"):
        return stored
    times = {event["type"]: event["at"] for event in log}
    last_change: datetime = order["updatedAt"]
    if not stored:
        stored = [_whole(order, times.get("order.shipped", last_change))]
    if status == "delivered":
        at = times.get("order.delivered", last_change)
        stored = [_delivered(one, at) if one["status"] == "shipped" else one for one in stored]
    return stored


def live_shipments(order: _Order) -> list[Shipment]:
    """The shipments that are not cancelled, oldest first."""
    return [one for one in shipments(order) if one["status"] != "cancelled"]


def shipped(order: _Order) -> list[int]:
    """The pieces in shipments that are not cancelled."""
    return summed(order, live_shipments(order))


def open_pieces(order: _Order) -> list[int]:
    """The pieces that are neither shipped nor cancelled. A cancelled order has none."""
    if order["status"] == "cancelled":
        return [0] * len(order["products"])
    taken = zip(ordered(order), cancelled(order), shipped(order), strict=True)
    return [whole - off - out for whole, off, out in taken]


def fulfillment(order: _Order) -> dict[str, Any]:
    """How far the goods are on their way: a `status`, and the `open` pieces by line."""
    left, live = numbered(open_pieces(order)), live_shipments(order)
    if not live:
        status = "none"
    elif left:
        status = "partial"
    else:
        status = "delivered" if all(one["status"] == "delivered" for one in live) else "shipped"
    return {"status": status, "open": left}


def is_partly_shipped(order: _Order) -> bool:
    """Whether the order has a shipment, and pieces are still open."""
    return order["status"] == "confirmed" and bool(live_shipments(order))


def announced(order: _Order) -> list[int]:
    """The pieces that running returns announce and that did not come yet."""
    pieces = [0] * len(order["products"])
    for one in order.get("returns", ()):
        if one["status"] in RUNNING:
            came = zip(summed(order, [one]), summed(order, one["receipts"]), strict=True)
            for place, (expected, back) in enumerate(came):
                pieces[place] += max(0, expected - back)
    return pieces


def received(order: _Order) -> list[int]:
    """The pieces that came back, in all returns."""
    return summed(order, (receipt for one in order.get("returns", ()) for receipt in one["receipts"]))


def returnable(order: _Order) -> list[int]:
    """The shipped pieces that did not come back and that no running return announces."""
    taken = zip(shipped(order), announced(order), received(order), strict=True)
    return [max(0, out - expected - back) for out, expected, back in taken]


def has_open_return(order: _Order) -> bool:
    """Whether a return of the order is requested or approved."""
    return any(one["status"] in RUNNING for one in order.get("returns", ()))


def require_lines(
    order: _Order, products: Sequence[Mapping[str, Any]], once_per: Sequence[str] = ("line",)
) -> None:
    """Raises InvalidInput for unknown lines, and for entries that agree in `once_per`."""
    faults, seen = list[Fault](), list[list[Any]]()
    for place, entry in enumerate(products):
        own = [entry[name] for name in once_per]
        if entry["line"] > len(order["products"]):
            known = f"must be a line of the order, from 1 to {len(order['products'])}"
            faults.append(Fault(f"/products/{place}/line", known))
        elif own in seen:
            faults.append(Fault(f"/products/{place}/line", "must not be named twice"))
        seen.append(own)
    if faults:
        raise InvalidInput(*faults)


def numbered(pieces: Sequence[int]) -> list[LinePieces]:
    """The pieces by the number of their line, without lines that have none."""
    return [LinePieces(line=line, quantity=some) for line, some in enumerate(pieces, 1) if some > 0]


def next_id(order: _Order, kind: str, things: Sequence[object]) -> str:
    """The id of the next shipment (`s`), cancellation (`c`) or return (`r`) of the order.

    If two requests take the same id at once, the compare-and-set rejects one of them.
    """
    return f"{order['id']}-{kind}{len(things) + 1}"


def _whole(order: _Order, at: datetime) -> Shipment:
    """The shipment of an order that an earlier release shipped."""
    pieces = [all_ - off for all_, off in zip(ordered(order), cancelled(order), strict=True)]
    whole: Shipment = {
        "id": next_id(order, "s", ()),
        "status": "shipped",
        "products": numbered(pieces),
        "createdAt": at,
        "updatedAt": at,
    }
    if "tracking" in order:
        whole["tracking"] = order["tracking"]
    return whole


def _delivered(shipment: Shipment, at: datetime) -> Shipment:
    return {**shipment, "status": "delivered", "deliveredAt": at, "updatedAt": at}


def summed(order: _Order, things: Iterable[Mapping[str, Any]]) -> list[int]:
    """The pieces in the `products` of these things."""
    pieces = [0] * len(order["products"])
    for entry in (entry for one in things for entry in one["products"]):
        pieces[entry["line"] - 1] += entry["quantity"]
    return pieces
