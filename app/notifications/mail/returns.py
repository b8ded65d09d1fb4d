"""What the mails about returns say: the pieces, and the money that is given back for them."""

from collections.abc import Callable
from typing import Any

from app.notifications.mail.text import harmless
from app.orders.goods import Return
from app.orders.goods_fields import ON_APPROVAL, ON_RECEIPT
from app.orders.log import Event
from app.orders.model import Order

# The subjects of the mails, in which {} is the order's number.
SUBJECTS = {
    "return.requested": "You want to return pieces of order {}",
    "return.approved": "Your return of pieces of order {} is approved",
    "return.rejected": "We cannot take back pieces of order {}",
    "return.cancelled": "The return of pieces of order {} has been cancelled",
    "return.received": "We have received pieces of order {}",
    "return.closed": "The return of pieces of order {} is closed",
}
# What follows, by the event and the `refund` of the return.
_LATER = {
    ("return.requested", ON_RECEIPT): "We refund the pieces once they have arrived.",
    ("return.requested", ON_APPROVAL): "We refund the pieces once we have approved their return.",
    ("return.approved", ON_RECEIPT): "We refund the pieces once they have arrived.",
}
_LONGEST_REASON = 200


def variables(order: Order, refunding: Callable[[int], str]) -> dict[str, Any] | None:
    """The variables of a mail about the return of the order's last event; None for another event.

    `refunding` makes a sentence of an amount that is given back.
    """
    event = order["events"][-1]
    return_id = event["data"].get("returnId")
    one = next((one for one in order.get("returns", ()) if one["id"] == return_id), None)
    if one is None or event["type"] not in SUBJECTS:
        return None
    later = _LATER.get((event["type"], one["refund"]), "")
    return {
        "id": one["id"],
        "pieces": [
            {
                "quantity": some["quantity"],
                "product": harmless(order["products"][some["line"] - 1]["productId"]),
                "is_damaged": some.get("condition") == "damaged",
            }
            for some in _pieces(one, event)
        ],
        "reason": harmless(one.get("rejection", {}).get("reason", ""), _LONGEST_REASON),
        "money": refunding(event["data"]["amount"]) if "amount" in event["data"] else later,
    }


def _pieces(one: Return, event: Event) -> list[Any]:
    """The pieces that came, or else those that the return announces."""
    return [*(event["data"]["products"] if event["type"] == "return.received" else one["products"])]
