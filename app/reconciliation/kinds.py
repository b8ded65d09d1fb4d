"""The table of the kinds of difference: one row a kind, with its text, its check and its repair.

To add a kind, add a row here, a check beside the others of its scope and, if a repair is safe, a repair.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.orders.model import Order
from app.reconciliation import ReconciliationServices, order_checks, payment_checks, repairs, stock_checks
from app.reconciliation.records import Case, Finding, Level
from app.reconciliation.report import ReportedDifference, Scope


class Kind(NamedTuple):
    """One kind of difference: its meaning, the proposed repair, and its check.

    `check` reads the records of one order, `check_level` one level of stock. Both find this kind alone.
    `repair` makes the proposed repair and returns whether it is done. It is set if the records leave no doubt
    about the repair. A person makes the other repairs.
    """

    scope: Scope
    means: str
    proposal: str
    check: Callable[[Case], Iterator[Finding]] | None = None
    repair: Callable[[ReconciliationServices, ReportedDifference, Order], bool] | None = None
    check_level: Callable[[Level], Iterator[Finding]] | None = None

    @property
    def safe(self) -> bool:
        """Whether `--repair` makes the repair."""
        return self.repair is not None


KINDS: dict[str, Kind] = {
    "payment_missing": Kind(
        "payments",
        "By our records money is reserved or taken, but the provider has no payment.",
        "Ask the provider; no money was taken.",
        payment_checks.payment_missing,
    ),
    "payment_doubled": Kind(
        "payments",
        "The provider has a second payment with money on it for one order.",
        "Void or refund the second payment at the provider.",
        payment_checks.payment_doubled,
    ),
    "payment_orphaned": Kind(
        "payments",
        "The provider has a payment with money on it, but its order does not exist.",
        "Find out who paid, and refund the payment at the provider.",
        payment_checks.payment_orphaned,
    ),
    "payment_amount_differs": Kind(
        "payments",
        "The payment and the order have different amounts.",
        "Refund or charge the difference.",
        payment_checks.payment_amount_differs,
    ),
    "payment_currency_differs": Kind(
        "payments",
        "The payment and the order have different currencies.",
        "Refund it at the provider.",
        payment_checks.payment_currency_differs,
    ),
    "payment_ahead": Kind(
        "payments",
        "Money is reserved or taken at the provider, but the order still waits for it.",
        "Bring the order in line with the provider.",
        payment_checks.payment_ahead,
        repairs.align_payment,
    ),
    "authorization_lost": Kind(
        "payments",
        "By our records money is reserved, but at the provider the payment is closed.",
        "Bring the order in line with the provider, which cancels it.",
        payment_checks.authorization_lost,
        repairs.align_payment,
    ),
    "authorization_open": Kind(
        "payments",
        "An order has ended, but the provider still holds money reserved for it.",
        "Void the authorization.",
        payment_checks.authorization_open,
        repairs.align_payment,
    ),
    "captured_on_cancelled": Kind(
        "payments",
        "An order is cancelled and its money was taken, but no refund is under way.",
        "Refund the rest.",
        payment_checks.captured_on_cancelled,
        repairs.refund_rest,
    ),
    "cancelled_refund_failed": Kind(
        "payments",
        "An order is cancelled and its money was taken, but the refund has failed.",
        "Retry the refund (flask --app wsgi refunds retry), or refund it at the provider.",
        payment_checks.cancelled_refund_failed,
    ),
    "captured_differs": Kind(
        "payments",
        "The amount taken at the provider differs from our records.",
        "Compare the order's events with the provider's.",
        payment_checks.captured_differs,
    ),
    "refund_unknown": Kind(
        "payments",
        "More is refunded at the provider than in our records.",
        "Bring the order in line with the provider.",
        payment_checks.refund_unknown,
        repairs.align_payment,
    ),
    "refund_missing": Kind(
        "payments",
        "Less is refunded at the provider than in our records.",
        "Refund the difference at the provider.",
        payment_checks.refund_missing,
    ),
    "level_differs": Kind(
        "stock",
        "A level is not the sum of the product's movements.",
        "Count the shelf: the records do not show which of the two is wrong.",
        check_level=stock_checks.level_differs,
    ),
    "level_negative": Kind(
        "stock",
        "A level is below zero.",
        "Count the shelf, and set the level.",
        check_level=stock_checks.level_negative,
    ),
    "movement_missing": Kind(
        "stock",
        "An order took its stock, but a product that was tracked then has no movement of it.",
        "Count the shelf; adjust the level if the goods have left it.",
        stock_checks.movement_missing,
    ),
    "movement_differs": Kind(
        "stock",
        "The movements of an order and its lines and refunds give different quantities of a product.",
        "Count the shelf, and adjust the level.",
        stock_checks.movement_differs,
    ),
    "cancelled_pieces_differ": Kind(
        "stock",
        "The ledger has pieces of a part cancellation that the order does not have, or more than it has.",
        "Count the shelf, and adjust the level by their quantities.",
        stock_checks.cancelled_pieces_differ,
    ),
    "movement_unexpected": Kind(
        "stock",
        "An order that took no stock has movements.",
        "Adjust the level by their quantities.",
        stock_checks.movement_unexpected,
    ),
    "movement_doubled": Kind(
        "stock",
        "The same movement of an order is in the ledger twice.",
        "Adjust the level by the second one.",
        stock_checks.movement_doubled,
    ),
    "return_movement_differs": Kind(
        "stock",
        "A movement of a return is not of a receipt's resellable pieces, or is of more.",
        "Count the shelf, and adjust the level.",
        stock_checks.return_movement_differs,
    ),
    "movement_orphaned": Kind(
        "stock",
        "Movements name an order that does not exist and was not purged.",
        "Find the order in a backup; otherwise adjust the level by their quantities.",
        stock_checks.movement_orphaned,
    ),
    "backorder_forgotten": Kind(
        "stock",
        "An order waits for stock that has been there for a while.",
        "Take the stock for it. Is beat running?",
        stock_checks.backorder_forgotten,
        repairs.take_stock,
    ),
    # Any check finds this kind, by failing to read the order.
    "order_unreadable": Kind(
        "orders",
        "The document of an order is damaged: it cannot be decoded, shown or checked.",
        "Restore the order from a backup: something other than the service changed it.",
    ),
    "log_broken": Kind(
        "orders",
        "The log of an order has a gap or a hash that does not chain.",
        "Restore the order from a backup: something other than the service changed it.",
        order_checks.log_broken,
    ),
    "document_differs": Kind(
        "orders",
        "The state of an order does not follow from its events.",
        "Find out which of the two is right: something other than the service changed one of them.",
        order_checks.document_differs,
    ),
    "personal_differs": Kind(
        "orders",
        "The personal data of an order do not match the digest in its log.",
        "Ask the customer: something other than the service changed the data.",
        order_checks.personal_differs,
    ),
    "email_key_differs": Kind(
        "orders",
        "An order is not found by its email, or is found by another one.",
        "Correct the key by which it is found.",
        order_checks.email_key_differs,
        repairs.correct_email_key,
    ),
    "note_differs": Kind(
        "orders",
        "The text of a note does not match the digest in the log of its order, is missing or was erased.",
        "Restore the text from a backup, or erase the note: something other than the service changed it.",
        order_checks.note_differs,
    ),
    "total_differs": Kind(
        "orders",
        "The total of an order is not the sum of its lines and adjustments.",
        "Compare the order with the request, and refund or charge the difference.",
        order_checks.total_differs,
    ),
    "refund_beyond_shares": Kind(
        "orders",
        "A refund by lines is larger than the share of its pieces, and nobody requested its amount.",
        "Compare the refund with the lines of the order, and charge the difference.",
        order_checks.refund_beyond_shares,
    ),
    "shipped_beyond_ordered": Kind(
        "orders",
        "More pieces of a line are shipped and cancelled than were ordered.",
        "Find out what was sent, and ask for it back or charge it.",
        order_checks.shipped_beyond_ordered,
    ),
    "status_unfounded": Kind(
        "orders",
        "The status of an order is not the one that its shipments give.",
        "Find out what was sent, and ship or deliver the rest: something other than the service changed it.",
        order_checks.status_unfounded,
    ),
    "returned_beyond_shipped": Kind(
        "orders",
        "More pieces of a line came back than were shipped.",
        "Find out what came back, and count the shelf.",
        order_checks.returned_beyond_shipped,
    ),
    "return_refund_differs": Kind(
        "orders",
        "A return and the refunds of its order name different refunds of it.",
        "Compare the return with the refunds, and refund or charge the difference.",
        order_checks.return_refund_differs,
    ),
    "cancellation_differs": Kind(
        "orders",
        "A part cancellation took off another amount than its pieces cost.",
        "Compare the cancellation with the lines of the order, and refund or charge the difference.",
        order_checks.cancellation_differs,
    ),
    "cancellation_unpaid": Kind(
        "orders",
        "More money was taken than was due after part cancellations, and no refund returns the difference.",
        "Refund the difference.",
        order_checks.cancellation_unpaid,
    ),
    "overdue": Kind(
        "orders",
        "A step is long overdue, and no process has retried it.",
        "Make it due now. Is beat running?",
        order_checks.overdue,
        repairs.make_due,
    ),
    "forgotten": Kind(
        "orders",
        "An order has a due step, but is not marked as due.",
        "Make it due now.",
        order_checks.forgotten,
        repairs.make_due,
    ),
    "expiry_overdue": Kind(
        "orders",
        "An order is pending long after it should have expired.",
        "Cancel it as expired. Is beat running?",
        order_checks.expiry_overdue,
        repairs.expire,
    ),
    "backorder_overdue": Kind(
        "orders",
        "An order has no stock long after its `backorderUntil`.",
        "Cancel it as out of stock. Is beat running?",
        order_checks.backorder_overdue,
        repairs.end_backorder,
    ),
    "hold_overdue": Kind(
        "orders",
        "A hold is in force long after its `until`.",
        "End it, and cancel the order if the hold says so. Is beat running?",
        order_checks.hold_overdue,
        repairs.end_holds,
    ),
    "announced_ahead": Kind(
        "orders",
        "An order counts as announced beyond its last event, so its next events would not be announced.",
        "Set the mark back; recorded announcements are not repeated.",
        order_checks.announced_ahead,
        repairs.announce_from_the_start,
    ),
    "announcement_missing": Kind(
        "orders",
        "A public event counts as announced, but no notification of it is recorded.",
        "Set the mark back; recorded announcements are not repeated.",
        order_checks.announcement_missing,
        repairs.announce_missing,
    ),
    "notification_unfounded": Kind(
        "orders",
        "A notification names an event that the order does not have.",
        "Inform the customer of the order's true state.",
        order_checks.notification_unfounded,
    ),
    "delivery_missing": Kind(
        "orders",
        "A public event counts as announced, but no delivery to an endpoint that asked for it is recorded.",
        "Record the delivery, so that it is sent.",
        order_checks.delivery_missing,
        repairs.record_delivery,
    ),
    "delivery_unfounded": Kind(
        "orders",
        "A webhook delivery names an event that the order does not have.",
        "Inform the receiver of the order's true state.",
        order_checks.delivery_unfounded,
    ),
    "feed_unfounded": Kind(
        "orders",
        "The feed names an event that the order does not have.",
        "Ask the consumers of the feed to read the order again.",
        order_checks.feed_unfounded,
    ),
    "feed_behind": Kind(
        "orders",
        "The last events of an order are not in the feed. Is the relay running?",
        "Append them.",
        order_checks.feed_behind,
        repairs.append_to_feed,
    ),
    "feed_hole": Kind(
        "orders",
        "An event of an order is not in the feed, though later ones are.",
        "Ask the consumers of the feed to read the order again: the event would now be out of order.",
        order_checks.feed_hole,
    ),
}
