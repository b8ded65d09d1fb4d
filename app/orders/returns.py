"""Returns: pieces that come back. The fold of their events, and the statuses that a return can get."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from app.errors import IllegalTransition
from app.orders.goods import Receipt, ReceivedPieces, Return
from app.orders.goods_fields import RESELLABLE
from app.orders.log import Event
from app.orders.states import RETURN_STATUS


def following(found: Return) -> tuple[str, ...]:
    """The statuses that the return can get now.

    Once something was received or refunded, it can only be closed.
    """
    is_begun = bool(found["receipts"]) or "refundId" in found
    return tuple(one for one in RETURN_STATUS[found["status"]] if not (is_begun and one == "cancelled"))


def require(found: Return, status: str) -> None:
    """Raises IllegalTransition if the return cannot get the status now."""
    allowed = following(found)
    if status not in allowed:
        raise IllegalTransition(found["status"], status, allowed, "return")


def require_approved(found: Return) -> None:
    """Raises IllegalTransition if no parcel of the return can be received now."""
    if found["status"] != "approved":
        raise IllegalTransition(found["status"], "received", following(found), "return")


def unstocked(order: Mapping[str, Any]) -> list[tuple[Return, Receipt]]:
    """The receipts with resellable pieces that are not in the stock yet, each with its return."""
    return [
        (one, receipt)
        for one in order.get("returns", ())
        for receipt in one["receipts"]
        if "restocked" not in receipt and resellable(receipt)
    ]


def in_stock(order: Mapping[str, Any]) -> list[tuple[Return, Receipt]]:
    """The receipts whose resellable pieces are in the stock, each with its return."""
    return [
        (one, receipt)
        for one in order.get("returns", ())
        for receipt in one["receipts"]
        if "restocked" in receipt
    ]


def resellable(receipt: Receipt) -> list[ReceivedPieces]:
    """Those of the pieces that go back into the stock."""
    return [some for some in receipt["products"] if some["condition"] == RESELLABLE]


def _requested(order: dict[str, Any], event: Event) -> None:
    data = {**event["data"]}
    times = {"createdAt": event["at"], "updatedAt": event["at"]}
    made = {"id": data.pop("returnId"), "status": "requested", **data, "receipts": [], **times}
    order["returns"] = [*order.get("returns", ()), made]


def _each(
    change: Callable[[Return, dict[str, Any]], dict[str, Any]], order: dict[str, Any], event: Event
) -> None:
    """Changes the return of the event. `change` gets it with the other data, and returns the new values."""
    data = {**event["data"]}
    return_id = data.pop("returnId")
    order["returns"] = [
        {**one, **change(one, {**data, "at": event["at"]}), "updatedAt": event["at"]}
        if one["id"] == return_id
        else one
        for one in order.get("returns", ())
    ]


def _to(status: str, found: Return, data: dict[str, Any]) -> dict[str, Any]:
    require(found, status)
    del data["at"]
    return {**data, "status": status}


def _received(found: Return, data: dict[str, Any]) -> dict[str, Any]:
    require_approved(found)
    return {"receipts": [*found["receipts"], data]}


def _restocked(found: Return, data: dict[str, Any]) -> dict[str, Any]:
    number = data["receipt"]
    return {
        "receipts": [
            {**receipt, "restocked": True} if receipt["receipt"] == number else receipt
            for receipt in found["receipts"]
        ]
    }


# What each of these events changes in an order, beyond its version and time.
FOLDS: dict[str, Callable[[dict[str, Any], Event], None]] = {
    "return.requested": _requested,
    "return.approved": partial(_each, partial(_to, "approved")),
    "return.rejected": partial(_each, partial(_to, "rejected")),
    "return.cancelled": partial(_each, partial(_to, "cancelled")),
    "return.closed": partial(_each, partial(_to, "closed")),
    "return.received": partial(_each, _received),
    "return.restocked": partial(_each, _restocked),
}
