"""Holds: each blocks the capture or the shipping of an order until it is released or its time is over.

A hold is part of its order's state. The first event of an order can have holds; other events place, release
and expire them. They end with the order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NotRequired, TypedDict

from app.orders.log import Event
from app.orders.shortages import count_anew

MOST_HOLDS = 20
BLOCKS = ("capture", "ship")
# What happens at `until`.
RELEASE, CANCEL = "release", "cancel"
THEN = (RELEASE, CANCEL)
# The statuses in which something is left to hold, and those that end all holds.
HOLDABLE = ("pending", "confirmed")
_ENDING = ("delivered", "cancelled")
IN_THE_FUTURE = "must be in the future"


class Hold(TypedDict):
    """One hold. `blocks` lists the steps that wait for its end.

    At `until` it ends by itself, and `then` says whether the order is cancelled.
    """

    code: str
    blocks: list[str]
    then: str
    createdAt: datetime
    reason: NotRequired[str]
    until: NotRequired[datetime]


def blocking(order: Mapping[str, Any], step: str) -> list[Hold]:
    """The holds of the order that block `capture` or `ship`."""
    return [hold for hold in order.get("holds", ()) if step in hold["blocks"]]


def over(order: Mapping[str, Any], now: datetime) -> list[Hold]:
    """The holds of the order whose time is over."""
    return [hold for hold in order.get("holds", ()) if "until" in hold and hold["until"] <= now]


def past_ends(stated: Sequence[Mapping[str, Any]], now: datetime) -> list[int]:
    """The positions of the holds whose `until` is not in the future."""
    return [number for number, hold in enumerate(stated) if "until" in hold and hold["until"] <= now]


def find(order: Mapping[str, Any], code: str) -> Hold | None:
    """The hold with this code; None if the order has none."""
    return next((hold for hold in order.get("holds", ()) if hold["code"] == code), None)


def begun(stated: Iterable[Mapping[str, Any]], at: datetime) -> list[Hold]:
    """The holds that an event places, as the order has them from then on."""
    return [{**hold, "createdAt": at} for hold in stated]  # type: ignore[typeddict-item]


def end_with_status(order: dict[str, Any]) -> None:
    """Removes the holds if the order's status ends them."""
    if order["status"] in _ENDING:
        order.pop("holds", None)


def _placed(order: dict[str, Any], event: Event) -> None:
    order["holds"] = [*order.get("holds", ()), *begun([event["data"]], event["at"])]


def _ended(order: dict[str, Any], event: Event) -> None:
    """From the end of the last hold on, the order has its whole time until it expires."""
    left = [hold for hold in order.pop("holds", ()) if hold["code"] != event["data"]["code"]]
    if left:
        order["holds"] = left
    else:
        count_anew(order, event["at"])


# What each of these events changes in an order, beyond its version and time.
FOLDS: dict[str, Callable[[dict[str, Any], Event], None]] = {
    "hold.placed": _placed,
    "hold.released": _ended,
    "hold.expired": _ended,
}
