"""What a reconciliation looks for: each kind of difference, what is to be done about it, and by whom."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

Scope = Literal["payments", "stock", "orders"]
Status = Literal["running", "finished", "failed"]

SCOPES: tuple[Scope, ...] = ("payments", "stock", "orders")
STATUSES: tuple[Status, ...] = ("running", "finished", "failed")


class Kind(NamedTuple):
    """One kind of difference. `repair` is what is proposed; `safe` says that it can be done by itself, since
    it only makes good what the books leave no doubt of; the rest is for a person."""

    scope: Scope
    means: str
    repair: str
    safe: bool = False


KINDS: dict[str, Kind] = {
    "payment_missing": Kind(
        "payments",
        "Money is reserved or taken by our books; the provider knows of no payment.",
        "Ask the provider; no money was taken.",
    ),
    "payment_doubled": Kind(
        "payments",
        "The provider has a second payment of an order, and money on it.",
        "Void or refund the second payment at the provider.",
    ),
    "payment_orphaned": Kind(
        "payments",
        "The provider has a payment with money on it, but there is no such order.",
        "Find out whose payment it is, and refund it at the provider.",
    ),
    "payment_amount_differs": Kind(
        "payments",
        "The payment is for another amount than the order.",
        "Refund, or charge the difference.",
    ),
    "payment_currency_differs": Kind(
        "payments",
        "The payment is in another currency than the order.",
        "Refund it at the provider.",
    ),
    "payment_ahead": Kind(
        "payments",
        "Money is reserved or taken at the provider; here the order still waits for it.",
        "Bring the order in line with the provider.",
        safe=True,
    ),
    "authorization_lost": Kind(
        "payments",
        "Money is reserved by our books; at the provider the payment is closed.",
        "Bring the order in line with the provider: it is cancelled.",
        safe=True,
    ),
    "authorization_open": Kind(
        "payments",
        "An order has ended and the provider still holds money reserved for it.",
        "Void the authorization.",
        safe=True,
    ),
    "captured_on_cancelled": Kind(
        "payments",
        "An order is cancelled, its money was taken, and nobody gives it back.",
        "Refund the rest.",
        safe=True,
    ),
    "cancelled_refund_failed": Kind(
        "payments",
        "An order is cancelled, its money was taken, and giving it back has failed.",
        "Retry the refund (flask --app wsgi refunds retry), or refund it at the provider.",
    ),
    "captured_differs": Kind(
        "payments",
        "Another amount was taken at the provider than our books say.",
        "Compare the order's events with the provider's.",
    ),
    "refund_unknown": Kind(
        "payments",
        "More was given back at the provider than our books say.",
        "Bring the order in line with the provider.",
        safe=True,
    ),
    "refund_missing": Kind(
        "payments",
        "Less was given back at the provider than our books say.",
        "Refund the difference at the provider.",
    ),
    "level_differs": Kind(
        "stock",
        "A level is not the sum of the product's movements.",
        "Count the shelf. Which of the two is wrong, nobody can tell from here.",
    ),
    "level_negative": Kind(
        "stock",
        "A level is below zero.",
        "Count the shelf, and set the level.",
    ),
    "movement_missing": Kind(
        "stock",
        "An order took its stock, but not a movement of a product that was tracked by then.",
        "Count the shelf; adjust the level if the goods have left it.",
    ),
    "movement_differs": Kind(
        "stock",
        "By its movements an order holds another quantity of a product than by its lines and refunds.",
        "Count the shelf, and adjust the level.",
    ),
    "movement_unexpected": Kind(
        "stock",
        "There are movements of an order that took no stock.",
        "Adjust the level by what they moved.",
    ),
    "movement_doubled": Kind(
        "stock",
        "The same movement of an order is in the ledger twice.",
        "Adjust the level by the second one.",
    ),
    "movement_orphaned": Kind(
        "stock",
        "There are movements of an order that there is not, and that was not purged.",
        "Find the order in a backup; else adjust the level by what they moved.",
    ),
    "order_unreadable": Kind(
        "orders",
        "The document of an order is damaged: it cannot be decoded, shown or judged.",
        "Restore the order from a backup: somebody wrote past the service.",
    ),
    "log_broken": Kind(
        "orders",
        "The log of an order has a gap or a hash that does not chain.",
        "Restore the order from a backup: somebody wrote past the service.",
    ),
    "document_differs": Kind(
        "orders",
        "The state of an order is not what its events lead to.",
        "Find out which of the two is right: somebody wrote past the service.",
    ),
    "personal_differs": Kind(
        "orders",
        "The personal data of an order are not those that its log has the digest of.",
        "Ask the customer: somebody wrote past the service.",
    ),
    "overdue": Kind(
        "orders",
        "A step is long overdue and nobody sends it again.",
        "Make it due now. Is beat running?",
        safe=True,
    ),
    "forgotten": Kind(
        "orders",
        "An order owes a step and is not marked so.",
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
        "An order counts as announced beyond its last event: its next ones would be told to nobody.",
        "Set the mark back; what is recorded already is not told again.",
        safe=True,
    ),
    "announcement_missing": Kind(
        "orders",
        "A public event counts as announced, but no notification of it is recorded.",
        "Set the mark back; what is recorded already is not told again.",
        safe=True,
    ),
    "notification_unfounded": Kind(
        "orders",
        "A notification tells of an event that the order does not have.",
        "Tell the customer what is true.",
    ),
    "delivery_missing": Kind(
        "orders",
        "A public event counts as announced, but no delivery to an endpoint that asked for it is recorded.",
        "Record the delivery; it is sent then.",
        safe=True,
    ),
    "delivery_unfounded": Kind(
        "orders",
        "A webhook tells of an event that the order does not have.",
        "Tell the receiver what is true.",
    ),
    "feed_unfounded": Kind(
        "orders",
        "The feed tells of an event that the order does not have.",
        "Tell the consumers of the feed to read the order anew.",
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
        "Tell the consumers of the feed to read the order anew: appended now, it would come out of turn.",
    ),
}


class Difference(NamedTuple):
    """One thing that does not agree. `version` is that of the order, 0 where there is none."""

    kind: str
    ids: Mapping[str, Any]
    expected: str
    found: str
    version: int = 0


class Noted(TypedDict):
    """A difference as it stands in a report."""

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

    `stage` and `place` say how far it has come, while it is running; `checked` counts what was looked at,
    `found` the differences by their kinds. `unjudged` counts the orders that had changed a moment ago;
    `runAgainAfter` is the moment after which all of them can be judged.
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
