"""Refunds: each is part of its order's state. One event requests it and another ends it.

The compare-and-set that requests a refund also reserves its amount. So concurrent refunds together never
exceed the captured amount.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NotRequired, TypedDict

from app.errors import IllegalTransition
from app.orders.log import Event
from app.orders.states import REFUND


class RefundLine(TypedDict):
    """A line that a refund covers, and its product. `restock` says whether it goes back into the stock.

    Refunds of earlier releases have no `line`.
    """

    line: NotRequired[int]
    productId: str
    quantity: int
    restock: bool


class Refund(TypedDict):
    """One refund. `amount` is in minor units of the order's currency.

    `attempt` starts at 1 and grows with each retry of a failed refund. `restocked` is present once the
    refund's products are back in the stock. `shipping` is present if the refund returns the shipping of the
    whole order, and `computed` if the service computed the amount. `cancellationId` is the part cancellation
    whose money it returns, and `returnId` the return.
    """

    id: str
    status: str
    amount: int
    attempt: int
    createdAt: datetime
    updatedAt: datetime
    reason: NotRequired[str]
    products: NotRequired[list[RefundLine]]
    shipping: NotRequired[bool]
    computed: NotRequired[bool]
    cancellationId: NotRequired[str]
    returnId: NotRequired[str]
    failure: NotRequired[dict[str, str]]
    restocked: NotRequired[bool]


def moved(refunds: Sequence[Refund], event: Event, status: str | None) -> list[Refund]:
    """The refunds after an event of one of them. `status` is that refund's new status, or None to keep it."""
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
    """Whether the outcome of the refund is still open."""
    return refund["status"] == "pending"


def next_id(order_id: str, refunds: Sequence[Refund], ahead: int = 0) -> str:
    """The id of the next refund of an order. `ahead` counts the refunds that the same write requests before.

    If two requests take the same id at once, the compare-and-set rejects one of them.
    """
    return f"{order_id}-{len(refunds) + ahead + 1}"


def reserved(refunds: Sequence[Refund]) -> int:
    """The total of the pending refunds, in minor units."""
    return sum(refund["amount"] for refund in refunds if is_pending(refund))


def to_restock(refund: Refund) -> dict[str, int]:
    """The quantity of each product that this refund still has to restock.

    Empty before the refund succeeds, and again after the restock.
    """
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
