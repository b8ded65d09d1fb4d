"""How far the log of an order may grow, since all of it stands in one document.

A command of a client is taken while the log is below the command's limit. The room above the limits is left
for the service itself: so all that a command sets in motion can be written, and an order never gets stuck.
"""

from typing import TYPE_CHECKING, NamedTuple

from app.errors import HistoryFull
from app.orders.refunds import is_pending, to_restock

if TYPE_CHECKING:
    from app.orders.model import Order

MOST_EVENTS = 1_000
MOST_REFUNDS = 100
# Over all refunds of an order: each line may be half a kilobyte, and is stored twice.
MOST_REFUND_LINES = 2_000
MOST_RETRIES = 20
# Characters of what the payment provider says of a failure.
LONGEST_CODE, LONGEST_MESSAGE = 100, 500


class Limit(NamedTuple):
    """Up to how many events a command is taken. One that may come any number of times leaves room for what it
    takes to end the order afterwards."""

    events: int
    leaves_an_end: bool = False


# Adding a command is adding a row. `outside_refund` is a refund that somebody made at the payment provider.
LIMITS = {
    "amend": Limit(900),
    "note": Limit(900),
    "tag": Limit(900),
    "hold": Limit(900),
    "release": Limit(980),
    "ship": Limit(980),
    "deliver": Limit(980),
    "cancel": Limit(980),
    "delete": Limit(980),
    "refund": Limit(980, leaves_an_end=True),
    "retry": Limit(980, leaves_an_end=True),
    "outside_refund": Limit(980, leaves_an_end=True),
}

# The most events that the service itself may add, by the values of the axes. While the payment is open, four
# of them are a refund: an order may end before the service knows that its money was taken.
_STATUS = {"pending": 1}
_PAYMENT = {"pending": 7, "authorized": 5}
_STOCK = {"pending": 2, "decremented": 1}
# The status, while which stock that was taken may come back without a command.
_COMES_BACK = ("pending", "cancelled")

# What it takes to end an order: of a confirmed one to cancel it, give its money back at the second try, and
# delete it.
_END = {"confirmed": 10, "shipped": 2, "delivered": 1, "cancelled": 1}


def owed(order: "Order") -> int:
    """The most events that the service itself may add to the order as it is, with no command in between.

    Each event of the service's own makes it less by one at least. Only refunds that somebody makes at the
    payment provider come on top of it.
    """
    status, payment, stock = order["status"], order["payment"], order["stock"]["status"]
    events = _STATUS.get(status, 0) + _PAYMENT.get(payment["status"], 0) - ("action" in payment)
    if status in _COMES_BACK:
        events += _STOCK.get(stock, 0)
    for refund in order.get("refunds", ()):
        if is_pending(refund):
            events += 2 + any(line["restock"] for line in refund.get("products", ()))
        elif to_restock(refund):
            events += 1
    return events


def require_room(before: "Order", after: "Order", command: str) -> None:
    """Raises HistoryFull where the log has no room for the command."""
    limit = LIMITS[command]
    if limit.leaves_an_end:
        end = 0 if "deletedAt" in after else _END.get(after["status"], 0)
        is_full = after["version"] + owed(after) + end > limit.events
    else:
        is_full = before["version"] + owed(before) >= limit.events
    if is_full:
        raise HistoryFull(before["version"])
