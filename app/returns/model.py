"""The rules of returns: the pieces that can come back, and until when customers can return them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from app.errors import NotDelivered, NothingReturnable, TooLate, TooManyReturns
from app.orders.bounds import MOST_RECEIVED_LINES, MOST_RETURN_LINES, MOST_RETURN_TEXT, MOST_RETURNS
from app.orders.goods import (
    RUNNING,
    LinePieces,
    Return,
    numbered,
    received,
    returnable,
    shipments,
    shipped,
    summed,
)
from app.orders.log import Event
from app.orders.model import Order

# Whether a customer can return a piece.
_IN_TIME, _LATE, _UNDELIVERED = range(3)


class _Parcel(NamedTuple):
    """A shipment: the time of its delivery, None before it, and the pieces of each line that are left."""

    delivered_at: datetime | None
    pieces: list[int]

    def rank(self, at: datetime, window: timedelta) -> tuple[int, datetime]:
        """Whether a customer can return its pieces at this time, and its delivery, to sort by."""
        if self.delivered_at is None or self.delivered_at > at:
            return _UNDELIVERED, at
        return (_IN_TIME if at - self.delivered_at <= window else _LATE), self.delivered_at


def require_announceable(
    order: Order,
    products: Sequence[LinePieces],
    now: datetime,
    window: timedelta | None,
    log: Iterable[Event],
) -> None:
    """Raises if these pieces cannot be announced as a return now.

    `window` is the time from the delivery on in which they can, or None for the shop, which can return any
    shipped piece. `log` is needed for an order that an earlier release delivered. Raises NothingReturnable,
    NotDelivered, TooLate.
    """
    left = returnable(order)
    free = [left] if window is None else _by_rank(order, now, window, log)
    shown = numbered(free[_IN_TIME])
    if any(some["quantity"] > left[some["line"] - 1] for some in products):
        raise NothingReturnable("So many pieces were not shipped, or they are in a return already.", shown)
    beyond = [(some["line"] - 1, some["quantity"] - free[_IN_TIME][some["line"] - 1]) for some in products]
    if any(missing > free[_UNDELIVERED][place] for place, missing in beyond if missing > 0):
        raise TooLate("The time for the return of these pieces is over.", shown)
    if any(missing > 0 for _, missing in beyond):
        raise NotDelivered("These pieces are not delivered yet.", shown)


def require_receivable(order: Order, pieces: Sequence[LinePieces]) -> None:
    """Raises NothingReturnable if more pieces would come back than were shipped."""
    left = [out - back for out, back in zip(shipped(order), received(order), strict=True)]
    if any(some["quantity"] > left[some["line"] - 1] for some in pieces):
        raise NothingReturnable("More pieces would come back than were shipped.", numbered(left))


def require_room(order: Order, products: Sequence[Mapping[str, Any]], note: str) -> None:
    """Raises TooManyReturns if the order cannot have another return with these lines and this note."""
    returns = order.get("returns", ())
    if len(returns) >= MOST_RETURNS:
        raise TooManyReturns(f"An order can have at most {MOST_RETURNS} returns. Ended ones count.")
    entries = [entry for one in returns for entry in one["products"]] + [*products]
    if len(entries) > MOST_RETURN_LINES:
        raise TooManyReturns(f"All returns of an order can have at most {MOST_RETURN_LINES} lines together.")
    texts = [note, *(one.get("note", "") for one in returns), *(entry.get("reason", "") for entry in entries)]
    if sum(map(len, texts)) > MOST_RETURN_TEXT:
        raise TooManyReturns(
            f"All returns of an order can have at most {MOST_RETURN_TEXT} characters of notes and reasons."
        )


def require_room_for_receipt(order: Order, lines: int) -> None:
    """Raises TooManyReturns if the returns of the order cannot receive so many lines more."""
    receipts = [receipt for one in order.get("returns", ()) for receipt in one["receipts"]]
    if lines + sum(len(receipt["products"]) for receipt in receipts) > MOST_RECEIVED_LINES:
        raise TooManyReturns(f"An order can receive at most {MOST_RECEIVED_LINES} lines.")


def by_line(order: Order, products: Iterable[LinePieces]) -> list[LinePieces]:
    """The pieces by line, whatever their conditions."""
    return numbered(summed(order, [{"products": [*products]}]))


def beyond(order: Order, found: Return, pieces: Sequence[LinePieces]) -> list[LinePieces]:
    """Those of further received pieces that the return did not announce."""
    expected, before = summed(order, [found]), summed(order, found["receipts"])
    return [
        {"line": some["line"], "quantity": over}
        for some in pieces
        for left in [max(0, expected[some["line"] - 1] - before[some["line"] - 1])]
        if (over := some["quantity"] - left) > 0
    ]


def is_complete(order: Order, found: Return, pieces: Sequence[LinePieces]) -> bool:
    """Whether all that the return announces is there, with these further pieces."""
    back = summed(order, [*found["receipts"], {"products": [*pieces]}])
    return all(came >= expected for came, expected in zip(back, summed(order, [found]), strict=True))


def _by_rank(order: Order, now: datetime, window: timedelta, log: Iterable[Event]) -> list[list[int]]:
    """The pieces of each line that are in no return: those in time, the late ones, those not delivered.

    Pieces of a line are alike. Each return took those in time first, of these the oldest, as of its
    announcement.
    """
    live = [one for one in shipments(order, log) if one["status"] != "cancelled"]
    parcels = [_Parcel(one.get("deliveredAt"), summed(order, [one])) for one in live]
    for one in order.get("returns", ()):
        for place, count in enumerate(_taken(order, one)):
            if count:
                _take(sorted(parcels, key=lambda each: each.rank(one["createdAt"], window)), place, count)
    found = [[0] * len(order["products"]) for _ in range(3)]
    for parcel in parcels:
        of_rank = found[parcel.rank(now, window)[0]]
        for place, left in enumerate(parcel.pieces):
            of_rank[place] += left
    return found


def _taken(order: Order, one: Return) -> list[int]:
    """The pieces of each line that the return announces or received."""
    back = summed(order, one["receipts"])
    if one["status"] not in RUNNING:
        return back
    return [max(pair) for pair in zip(summed(order, [one]), back, strict=True)]


def _take(parcels: Iterable[_Parcel], place: int, count: int) -> None:
    for parcel in parcels:
        some = min(count, parcel.pieces[place])
        parcel.pieces[place] -= some
        count -= some
