"""What becomes of an order when stock is short, and from when on it can expire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

CANCEL, PARTIAL, BACKORDER = "cancel", "partial", "backorder"
ON_SHORTAGE = (CANCEL, PARTIAL, BACKORDER)
OUT_OF_STOCK = "out_of_stock"
# The stock statuses of an order that has not taken its stock yet.
NOT_TAKEN = ("pending", "backordered")


def may_wait(order: Mapping[str, Any]) -> bool:
    """Whether the order waits for stock, or will if the stock is short."""
    return order.get("onShortage") == BACKORDER and order["stock"]["status"] in NOT_TAKEN


def is_without_payment(order: Mapping[str, Any]) -> bool:
    """Whether the provider was never asked about the order's payment, since its stock comes first."""
    return (
        "stockFirst" in order
        and order["stock"]["status"] in NOT_TAKEN
        and order["payment"]["status"] == "pending"
    )


def expires_from(order: Mapping[str, Any]) -> datetime:
    """The time from which `ORDER_EXPIRY` counts.

    A backorder has it from the time on at which it takes its stock. Until then this is its `backorderUntil`,
    at which it ends for another reason.
    """
    begins: datetime = order.get("releasedAt", order["createdAt"])
    return begins


def count_anew(order: dict[str, Any], at: datetime) -> None:
    """Gives the order its whole time from now on, if it expires at all."""
    if may_wait(order):
        return
    if held_until := order["stock"].get("heldUntil"):
        order["stock"] = {**order["stock"], "heldUntil": held_until + (at - expires_from(order))}
    order["releasedAt"] = at
