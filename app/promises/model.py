"""The figures that say how well the service kept its promises, and how those of many orders add up."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from app.webhooks.model import WAITS

# Why an order expired: a hold ended it, the customer did not act, or this step was not done in time.
EXPIRED_BY = ("hold", "customer", "authorize", "decrement", "capture")
# The delays by which refunds are counted. Slower ones count as `later`.
DELAYS = {
    "1m": timedelta(minutes=1),
    "10m": timedelta(minutes=10),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
}
LATER = "later"
MOST_ATTEMPTS = len(WAITS) + 1
# Delays are counted with three significant digits, so that few different ones have to be kept.
_DIGITS = 3


# The events that a log can have once; those of refunds, once for each refund.
ONCE = (
    *("order.created", "order.confirmed", "order.cancelled", "order.deleted"),
    *("payment.authorized", "payment.declined", "payment.captured", "payment.voided", "payment.refunded"),
    *("stock.decremented", "stock.insufficient", "stock.released", "stock.restocked"),
    *("refund.succeeded", "refund.restocked"),
)


class Gap(NamedTuple):
    """A time without progress: the order, the event before it, and that event's time."""

    milliseconds: int
    order_id: str
    after: str
    at: datetime


class Differences(NamedTuple):
    """What the reconciliations found: by kind, how many different ones, and how many were repaired.

    `lost` counts the orders of which only other records are left. `doubled` counts second payments and
    movements. `finished` and `failed` count the reconciliations.
    """

    by_kind: Mapping[str, tuple[int, int]]
    lost: int
    doubled: int
    finished: int
    failed: int


@dataclass
class Figures:
    """The figures of a number of orders. Times are in milliseconds.

    `confirming` and `refunding` count the delays. `taken` counts webhooks by the attempt that was taken.
    """

    accepted: int = 0
    doubled: int = 0
    unreadable: int = 0
    confirming: Counter[int] = field(default_factory=Counter)
    expired: Counter[str] = field(default_factory=Counter)
    refunding: Counter[str] = field(default_factory=Counter)
    refunds_failed: int = 0
    refunds_pending: int = 0
    taken: Counter[int] = field(default_factory=Counter)
    webhooks_failed: int = 0
    webhooks_pending: int = 0
    longest_gap: Gap | None = None

    def add_orders(self, found: Mapping[str, Any]) -> None:
        """Adds the figures of some orders, by the names that `Evidence.orders` gives them."""
        self.accepted += found["accepted"]
        self.doubled += found["doubled"]
        self.unreadable += found["unreadable"]
        self.confirming.update(map(rounded, _known(found["confirming"])))
        self.expired.update(cause for cause in found["expired"] if cause)
        self.refunding.update(_class_of(delay) for delays in found["refunding"] for delay in _known(delays))
        self.refunds_failed += found["refundsFailed"]
        self.refunds_pending += found["refundsPending"]
        if gap := found["gap"]:
            one = Gap(gap["ms"], gap["orderId"], gap["after"], gap["at"])
            self.longest_gap = max(filter(None, (self.longest_gap, one)), key=lambda gap: gap.milliseconds)

    def add_webhooks(self, status: object, failures: object, number: int) -> None:
        """Adds webhooks with this status and number of failed attempts."""
        match status, failures:
            case "delivered", int() if 0 <= failures < MOST_ATTEMPTS:
                self.taken[failures + 1] += number
            case "failed", _:
                self.webhooks_failed += number
            case "pending", _:
                self.webhooks_pending += number
            case _:
                self.unreadable += number


def rounded(milliseconds: int) -> int:
    """The number with three significant digits."""
    return round(milliseconds, min(0, _DIGITS - len(str(abs(milliseconds)))))


def percentile(delays: Counter[int], percent: int) -> int | None:
    """The smallest delay that at least so many percent of all do not exceed; None without any."""
    rank = math.ceil(delays.total() * percent / 100)
    for delay in sorted(delays):
        rank -= delays[delay]
        if rank <= 0:
            return delay
    return None


def _known(delays: Iterable[int | None]) -> Iterable[int]:
    return (delay for delay in delays if delay is not None)


def _class_of(delay: int) -> str:
    return next((name for name, most in DELAYS.items() if delay <= most / timedelta(milliseconds=1)), LATER)
