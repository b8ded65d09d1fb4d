"""Refunds: each is a part of its order's state, asked for by one event and ended by another.

What is asked for is reserved at once, in the same compare-and-set that asks. So however many refunds come at
once, together they are never above what was captured.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NotRequired, TypedDict

from app.errors import IllegalTransition
from app.orders.log import Event
from app.orders.states import REFUND


class RefundLine(TypedDict):
    """What of the goods a refund is for; `restock` says that they are back on the shelf."""

    productId: str
    quantity: int
    restock: bool


class Refund(TypedDict):
    """`amount` is in minor units of the order's currency; `attempt` counts from 1, one more each time that a
    failed refund is tried again; `restocked` is there once the goods of its lines are in the stock again."""

    id: str
    status: str
    amount: int
    attempt: int
    createdAt: datetime
    updatedAt: datetime
    reason: NotRequired[str]
    products: NotRequired[list[RefundLine]]
    failure: NotRequired[dict[str, str]]
    restocked: NotRequired[bool]


def moved(refunds: Sequence[Refund], event: Event, status: str | None) -> list[Refund]:
    """The refunds after an event of one of them; `status` is the one that it takes, None for no change."""
    data = {**event["data"]}
    refund_id = data.pop("refundId")
    if event["type"] == "refund.requested":
        at = event["at"]
        requested: Any = {"id": refund_id, "status": status, "attempt": 1, "createdAt": at, "updatedAt": at}
        requested |= data
        return [*refunds, requested]
    return [
        _after(refund, event, status, data) if refund["id"] == refund_id else refund for refund in refunds
    ]


def is_pending(refund: Refund) -> bool:
    """Whether the money is still to be given back."""
    return refund["status"] == "pending"


def next_id(order_id: str, refunds: Sequence[Refund]) -> str:
    """The id of the next refund of an order. Another that takes it at the same time loses the
    compare-and-set."""
    return f"{order_id}-{len(refunds) + 1}"


def reserved(refunds: Sequence[Refund]) -> int:
    """What is asked for and not yet given back, in minor units."""
    return sum(refund["amount"] for refund in refunds if is_pending(refund))


def returned(refunds: Sequence[Refund]) -> dict[str, int]:
    """How much of each product the refunds are for, the failed ones left out."""
    counted: dict[str, int] = {}
    for refund in refunds:
        if refund["status"] != "failed":
            for line in refund.get("products", ()):
                counted[line["productId"]] = counted.get(line["productId"], 0) + line["quantity"]
    return counted


def to_restock(refund: Refund) -> dict[str, int]:
    """How much of each product goes back into the stock by this refund; empty where that is done or the money
    is not given back yet."""
    counted: dict[str, int] = {}
    if refund["status"] == "succeeded" and not refund.get("restocked"):
        for line in refund.get("products", ()):
            if line["restock"]:
                counted[line["productId"]] = counted.get(line["productId"], 0) + line["quantity"]
    return counted


def _after(refund: Refund, event: Event, status: str | None, data: Mapping[str, Any]) -> Refund:
    after: dict[str, Any] = {**refund, **data, "updatedAt": event["at"]}
    if status is not None:
        if status not in REFUND[refund["status"]]:
            raise IllegalTransition(refund["status"], status, ())
        after["status"] = status
    if status == "pending":
        after["attempt"] += 1
        after.pop("failure", None)
    return after  # type: ignore[return-value]
