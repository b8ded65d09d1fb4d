"""The limits of an order's log, which has to fit into one document.

The service accepts a client's command while the log is below that command's limit. The room above the limits
is reserved for the service's own events. So the service can always finish what a command starts.
"""

from typing import TYPE_CHECKING, NamedTuple

from app.errors import HistoryFull, TooManyRefunds
from app.orders.goods import RUNNING
from app.orders.holds import CANCEL
from app.orders.refunds import is_pending, to_restock
from app.orders.returns import unstocked
from app.orders.shortages import BACKORDER, PARTIAL

if TYPE_CHECKING:
    from app.orders.model import Order

MOST_EVENTS = 1_000
MOST_REFUNDS = 100
# The total over all refunds of an order. One line takes up to half a kilobyte, and is stored twice.
MOST_REFUND_LINES = 2_000
MOST_RETRIES = 20
# The total over all part cancellations of an order.
MOST_CANCELLED_LINES = 1_000
MOST_CORRECTIONS = 100
MOST_SHIPMENTS = MOST_CANCELLATIONS = MOST_RETURNS = 100
# The totals over all returns of an order: their lines, the lines of their receipts, and the characters of
# their notes and reasons.
MOST_RETURN_LINES = MOST_RECEIVED_LINES = 1_000
MOST_RETURN_TEXT = 20_000
# Characters kept of the payment provider's error code and message.
LONGEST_CODE, LONGEST_MESSAGE = 100, 500


class Limit(NamedTuple):
    """The number of events up to which a command is accepted.

    `leaves_an_end` is for commands that can repeat without limit: they also keep room for ending the order.
    """

    events: int
    leaves_an_end: bool = False


# To add a command, add a row. `outside_refund` is a refund made directly at the payment provider.
LIMITS = {
    "amend": Limit(900),
    "note": Limit(900),
    # The right to be forgotten does not end with a long log.
    "erase_note": Limit(980, leaves_an_end=True),
    "tag": Limit(900),
    "hold": Limit(900),
    "release": Limit(980),
    # The service does this one: it states anew for what a backorder waits.
    "wait": Limit(900),
    "ship": Limit(980),
    "create_shipment": Limit(980, leaves_an_end=True),
    "correct_shipment": Limit(980, leaves_an_end=True),
    "deliver_shipment": Limit(980),
    "cancel_shipment": Limit(980, leaves_an_end=True),
    "deliver": Limit(980),
    "cancel": Limit(980),
    "delete": Limit(980),
    "create_cancellation": Limit(980, leaves_an_end=True),
    "create_return": Limit(980, leaves_an_end=True),
    "approve_return": Limit(980, leaves_an_end=True),
    "reject_return": Limit(980),
    "cancel_return": Limit(980),
    "receive_return": Limit(980, leaves_an_end=True),
    "close_return": Limit(980),
    "refund": Limit(980, leaves_an_end=True),
    "retry": Limit(980, leaves_an_end=True),
    "outside_refund": Limit(980, leaves_an_end=True),
}

# The most events that the service itself can add, by the value of each axis. Four events of an open payment
# are for a refund: an order can end before the service learns that the money was captured.
_STATUS = {"pending": 1}
_PAYMENT = {"pending": 7, "authorized": 5}
_STOCK = {"pending": 2, "backordered": 2, "decremented": 1}
# The further events of an order whose stock is short: it waits first, or loses some of its pieces.
_SHORT = {BACKORDER: 1, PARTIAL: 4}
# In these statuses, decremented stock can be restocked without a client's command.
_COMES_BACK = ("pending", "cancelled")

# The further events of an order that a hold cancels, by status: a confirmed order is cancelled, refunded and
# restocked. A pending one may be confirmed before; its refund and its restock are counted above.
_CANCELLED_BY_HOLD = {"pending": 1, "confirmed": 6}

# The events needed to end an order, by status. A confirmed order is cancelled, refunded at the second
# attempt, and deleted. Each shipment that is under way is delivered, too.
_END = {"confirmed": 10, "shipped": 2, "delivered": 1, "cancelled": 1}


def under_way(order: "Order") -> int:
    """The shipments that are neither delivered nor cancelled."""
    return sum(one["status"] == "shipped" for one in order.get("shipments", ()))


def owed(order: "Order") -> int:
    """The most events that the service can still add to the order if no command comes in between.

    Each event that the service adds lowers this number by at least one. Refunds made directly at the payment
    provider are not included.
    """
    status, payment, stock = order["status"], order["payment"], order["stock"]["status"]
    events = _STATUS.get(status, 0) + _PAYMENT.get(payment["status"], 0) - ("action" in payment)
    if status in _COMES_BACK:
        events += _STOCK.get(stock, 0)
        events += _SHORT.get(order.get("onShortage", ""), 0) if stock == "pending" else 0
    for cancellation in order.get("cancellations", ()):
        # If the capture is on its way, what the cancellation takes off is refunded.
        events += 3 if "lowers" in cancellation and status == "pending" else 0
        events += cancellation.get("restocked") is False
    for refund in order.get("refunds", ()):
        if is_pending(refund):
            events += 2 + any(line["restock"] for line in refund.get("products", ()))
        elif to_restock(refund):
            events += 1
    return events + len(unstocked(order)) + _owed_to_holds(order)


def _owed_to_holds(order: "Order") -> int:
    """The most events by which the holds end by themselves."""
    ending = [hold for hold in order.get("holds", ()) if "until" in hold]
    cancels = any(hold["then"] == CANCEL for hold in ending)
    return len(ending) + (_CANCELLED_BY_HOLD.get(order["status"], 0) if cancels else 0)


def require_room_for_refund(order: "Order", lines: int) -> None:
    """Raises TooManyRefunds if the order cannot have another refund with so many lines."""
    refunds = order.get("refunds", ())
    if len(refunds) >= MOST_REFUNDS:
        raise TooManyRefunds(f"An order can have at most {MOST_REFUNDS} refunds.")
    if lines + sum(len(refund.get("products", ())) for refund in refunds) > MOST_REFUND_LINES:
        raise TooManyRefunds(f"All refunds of an order can have at most {MOST_REFUND_LINES} lines together.")


def _running_returns(order: "Order") -> int:
    """The events that end its returns, which must come before its deletion."""
    return sum(one["status"] in RUNNING for one in order.get("returns", ()))


def has_room(order: "Order", command: str) -> bool:
    """Whether the log has room for a command, apart from what ends the order."""
    limit = LIMITS[command].events
    # Each shipment under way has its delivery to come.
    kept = under_way(order) if limit < LIMITS["deliver"].events else 0
    return order["version"] + owed(order) + kept < limit


def require_room(before: "Order", after: "Order", command: str) -> None:
    """Raises HistoryFull if the log has no room for the command."""
    limit = LIMITS[command]
    if limit.leaves_an_end:
        rest = _END.get(after["status"], 0) + under_way(after) + _running_returns(after)
        end = 0 if "deletedAt" in after else rest
        is_full = after["version"] + owed(after) + end > limit.events
    else:
        is_full = not has_room(before, command)
    if is_full:
        raise HistoryFull(before["version"])
