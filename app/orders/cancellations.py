"""Part cancellations of an order: the fold of their events, and the pieces that have to go back to the stock.

A cancellation before the capture lowers the amount to capture. So the money is there only if the log says so.
"""

from collections.abc import Callable
from typing import Any

from app.orders.goods import PartCancellation
from app.orders.log import Event
from app.orders.states import OPEN_PAYMENT


def holds_stock(cancellation: PartCancellation) -> bool:
    """Whether its pieces were taken out of the stock and are not back yet."""
    return cancellation.get("restocked") is False


def took_stock(cancellation: PartCancellation) -> bool:
    """Whether its pieces were taken out of the stock before."""
    return "restocked" in cancellation


def refunded_by(order: dict[str, Any], refund: Event) -> None:
    """Notes the refund of a cancellation, if the event requests one."""
    cancellation_id = refund["data"].get("cancellationId")
    if cancellation_id and refund["type"] == "refund.requested":
        _change(order, cancellation_id, refundId=refund["data"]["refundId"])


def _created(order: dict[str, Any], event: Event) -> None:
    data = {**event["data"]}
    made = {"id": data.pop("cancellationId"), "createdAt": event["at"], **data}
    if order["payment"]["status"] in OPEN_PAYMENT:
        made["lowers"] = True
    if order["stock"]["status"] == "decremented":
        made["restocked"] = False
    order["cancellations"] = [*order.get("cancellations", ()), made]


def _restocked(order: dict[str, Any], event: Event) -> None:
    _change(order, event["data"]["cancellationId"], restocked=True)


def _change(order: dict[str, Any], cancellation_id: str, **fields: Any) -> None:
    order["cancellations"] = [
        {**one, **fields} if one["id"] == cancellation_id else one for one in order.get("cancellations", ())
    ]


# What each of these events changes in an order, beyond its version and time.
FOLDS: dict[str, Callable[[dict[str, Any], Event], None]] = {
    "cancellation.created": _created,
    "cancellation.restocked": _restocked,
}
