"""The kinds of difference that a reconciliation finds, and the shape of its reports."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

Scope = Literal["payments", "stock", "orders"]
Status = Literal["running", "finished", "failed"]

SCOPES: tuple[Scope, ...] = ("payments", "stock", "orders")
STATUSES: tuple[Status, ...] = ("running", "finished", "failed")


class Kind(NamedTuple):
    """One kind of difference. `repair` is the proposal; a `safe` one is done by `--repair`, since the records
    leave no doubt about it. A person does the others."""

    scope: Scope
    means: str
    repair: str
    safe: bool = False


KINDS: dict[str, Kind] = {
    "payment_missing": Kind(
        "payments",
        "By our records money is reserved or taken, but the provider has no payment.",
        "Ask the provider; no money was taken.",
    ),
    "payment_doubled": Kind(
        "payments",
        "The provider has a second payment with money on it for one order.",
        "Void or refund the second payment at the provider.",
    ),
    "payment_orphaned": Kind(
        "payments",
        "The provider has a payment with money on it, but its order does not exist.",
        "Find out who paid, and refund the payment at the provider.",
    ),
    "payment_amount_differs": Kind(
        "payments",
        "The payment and the order have different amounts.",
        "Refund or charge the difference.",
    ),
    "payment_currency_differs": Kind(
        "payments",
        "The payment and the order have different currencies.",
        "Refund it at the provider.",
    ),
    "payment_ahead": Kind(
        "payments",
        "Money is reserved or taken at the provider, but the order still waits for it.",
        "Bring the order in line with the provider.",
        safe=True,
    ),
    "authorization_lost": Kind(
        "payments",
        "By our records money is reserved, but at the provider the payment is closed.",
        "Bring the order in line with the provider, which cancels it.",
        safe=True,
    ),
    "authorization_open": Kind(
        "payments",
        "An order has ended, but the provider still holds money reserved for it.",
        "Void the authorization.",
        safe=True,
    ),
    "captured_on_cancelled": Kind(
        "payments",
        "An order is cancelled and its money was taken, but no refund is under way.",
        "Refund the rest.",
        safe=True,
    ),
    "cancelled_refund_failed": Kind(
        "payments",
        "An order is cancelled and its money was taken, but the refund has failed.",
        "Retry the refund (flask --app wsgi refunds retry), or refund it at the provider.",
    ),
    "captured_differs": Kind(
        "payments",
        "The amount taken at the provider differs from our records.",
        "Compare the order's events with the provider's.",
    ),
    "refund_unknown": Kind(
        "payments",
        "More is refunded at the provider than in our records.",
        "Bring the order in line with the provider.",
        safe=True,
    ),
    "refund_missing": Kind(
        "payments",
        "Less is refunded at the provider than in our records.",
        "Refund the difference at the provider.",
    ),
    "level_differs": Kind(
        "stock",
        "A level is not the sum of the product's movements.",
        "Count the shelf: the records do not show which of the two is wrong.",
    ),
    "level_negative": Kind(
        "stock",
        "A level is below zero.",
        "Count the shelf, and set the level.",
    ),
    "movement_missing": Kind(
        "stock",
        "An order took its stock, but a product that was tracked then has no movement of it.",
        "Count the shelf; adjust the level if the goods have left it.",
    ),
    "movement_differs": Kind(
        "stock",
        "The movements of an order and its lines and refunds give different quantities of a product.",
        "Count the shelf, and adjust the level.",
    ),
    "movement_unexpected": Kind(
        "stock",
        "An order that took no stock has movements.",
        "Adjust the level by their quantities.",
    ),
    "movement_doubled": Kind(
        "stock",
        "The same movement of an order is in the ledger twice.",
        "Adjust the level by the second one.",
    ),
    "movement_orphaned": Kind(
        "stock",
        "Movements name an order that does not exist and was not purged.",
        "Find the order in a backup; otherwise adjust the level by their quantities.",
    ),
    "order_unreadable": Kind(
        "orders",
        "The document of an order is damaged: it cannot be decoded, shown or checked.",
        "Restore the order from a backup: something other than the service changed it.",
    ),
    "log_broken": Kind(
        "orders",
        "The log of an order has a gap or a hash that does not chain.",
        "Restore the order from a backup: something other than the service changed it.",
    ),
    "document_differs": Kind(
        "orders",
        "The state of an order does not follow from its events.",
        "Find out which of the two is right: something other than the service changed one of them.",
    ),
    "personal_differs": Kind(
        "orders",
        "The personal data of an order do not match the digest in its log.",
        "Ask the customer: something other than the service changed the data.",
    ),
    "overdue": Kind(
        "orders",
        "A step is long overdue, and no process has retried it.",
        "Make it due now. Is beat running?",
        safe=True,
    ),
    "forgotten": Kind(
        "orders",
        "An order has a due step, but is not marked as due.",
        "Make it due now.",
        safe=True,
    ),
    "expiry_overdue": Kind(
        "orders",
        "An order is pending long after it should have expired.",
        "Cancel it as expired. Is beat running?",
        safe=True,
    ),
    "announced_ahead": Kind(
        "orders",
        "An order counts as announced beyond its last event, so its next events would not be announced.",
        "Set the mark back; recorded announcements are not repeated.",
        safe=True,
    ),
    "announcement_missing": Kind(
        "orders",
        "A public event counts as announced, but no notification of it is recorded.",
        "Set the mark back; recorded announcements are not repeated.",
        safe=True,
    ),
    "notification_unfounded": Kind(
        "orders",
        "A notification names an event that the order does not have.",
        "Inform the customer of the order's true state.",
    ),
    "delivery_missing": Kind(
        "orders",
        "A public event counts as announced, but no delivery to an endpoint that asked for it is recorded.",
        "Record the delivery, so that it is sent.",
        safe=True,
    ),
    "delivery_unfounded": Kind(
        "orders",
        "A webhook delivery names an event that the order does not have.",
        "Inform the receiver of the order's true state.",
    ),
    "feed_unfounded": Kind(
        "orders",
        "The feed names an event that the order does not have.",
        "Ask the consumers of the feed to read the order again.",
    ),
    "feed_behind": Kind(
        "orders",
        "The last events of an order are not in the feed. Is the relay running?",
        "Append them.",
        safe=True,
    ),
    "feed_hole": Kind(
        "orders",
        "An event of an order is not in the feed, though later ones are.",
        "Ask the consumers of the feed to read the order again: the event would now be out of order.",
    ),
}


class Difference(NamedTuple):
    """One difference. `version` is the order's, or 0 without an order."""

    kind: str
    ids: Mapping[str, Any]
    expected: str
    found: str
    version: int = 0


class ReportedDifference(TypedDict):
    """A difference as a report stores it."""

    id: str
    kind: str
    ids: dict[str, Any]
    expected: str
    found: str
    at: datetime
    version: int
    repaired: bool


class Report(TypedDict):
    """One reconciliation. It covers the orders made from `since` on, or all, until `startedAt`.

    While it is running, `stage` is its phase and `place` its checkpoint in that phase. `checked` counts the
    records read, `found` the differences by kind. `unjudged` counts the orders that had changed a moment
    before; `runAgainAfter` is the moment after which all of them can be checked.
    """

    id: str
    scopes: list[Scope]
    repair: bool
    scheduled: bool
    status: Status
    startedAt: datetime
    checked: dict[str, int]
    found: dict[str, int]
    repaired: int
    stage: str
    place: NotRequired[Any]
    unjudged: NotRequired[int]
    runAgainAfter: NotRequired[datetime]
    since: NotRequired[datetime]
    endedAt: NotRequired[datetime]
    detail: NotRequired[str]
