"""The request and the answer of the figures."""
# ruff: noqa: N815 - the names are those of the API

from datetime import timedelta
from typing import Any

from marshmallow import fields

from app.http.fields import Period
from app.http.schemas import ORDER_ID, Answer, Input, mapping, moment, nested, text, whole
from app.orders.events import EVENTS
from app.promises.model import DELAYS, EXPIRED_BY, LATER, MOST_ATTEMPTS, percentile
from app.promises.service import Promises
from app.reconciliation.kinds import KINDS

_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_DELAYS = (*DELAYS, LATER)
_ATTEMPTS = tuple(map(str, range(1, MOST_ATTEMPTS + 1)))

PROMISES: dict[str, Any] = {
    "since": "2024-09-04T10:00:00.000Z",
    "until": "2024-10-04T10:00:00.000Z",
    "accepted": 12_400,
    "lost": 0,
    "doubled": 0,
    "unreadable": 0,
    "confirmed": {"orders": 12_105, "p50Milliseconds": 21, "p99Milliseconds": 340},
    "expired": {"hold": 2, "customer": 31, "authorize": 1, "decrement": 0, "capture": 0},
    "refunds": {
        "byDelay": {"1m": 410, "10m": 6, "1h": 0, "1d": 1, "later": 0},
        "failed": 1,
        "pending": 2,
    },
    "webhooks": {
        "taken": {**dict.fromkeys(_ATTEMPTS, 0), "1": 61_200, "2": 95, "3": 14, "10": 1},
        "failed": 3,
        "pending": 12,
    },
    "reconciliations": {"finished": 720, "failed": 0},
    "differences": {"forgotten": {"found": 2, "repaired": 2}},
    "longestGap": {
        "milliseconds": 41_200,
        "orderId": "66ffbd20a1b2c3d4e5f60718",
        "after": "order.created",
        "at": "2024-09-21T03:14:07.120Z",
    },
}


class PromisesQuery(Input):
    """The period of the figures."""

    since = Period(
        "30d",
        timedelta(days=3650),
        doc="How long ago the first of the orders was made: `30d`, `12h`.",
    )


class ConfirmationsOut(Answer):
    """The orders that were confirmed, and the time from their 201 on. It includes holds and waits at the
    bank."""

    orders = whole("The number of orders that were confirmed.", minimum=0)
    p50Milliseconds = whole("Half of them were confirmed within this time.", required=False, minimum=0)
    p99Milliseconds = whole("99 of 100 were confirmed within this time.", required=False, minimum=0)


class RefundDelaysOut(Answer):
    """The refunds of the orders, by the time from the request to the money's return."""

    byDelay = mapping(
        "The number of refunds that took longer than the entry before, and at most this time.",
        properties=dict.fromkeys(_DELAYS, _COUNT),
    )
    failed = whole("The number of refunds that have failed.", minimum=0)
    pending = whole("The number of refunds under way.", minimum=0)


class WebhookAttemptsOut(Answer):
    """The webhooks about the orders."""

    taken = mapping(
        "The number of webhooks by the attempt that was taken. A replay counts from 1 again.",
        properties=dict.fromkeys(_ATTEMPTS, _COUNT),
    )
    failed = whole("The number of webhooks that were given up.", minimum=0)
    pending = whole("The number of webhooks under way.", minimum=0)


class ReconciliationsOut(Answer):
    """The reconciliations of the period. Without any, `lost` and `differences` say nothing."""

    finished = whole("The number of reconciliations that were finished.", minimum=0)
    failed = whole("The number of reconciliations that were cut off.", minimum=0)


class DifferenceCountOut(Answer):
    """How often a kind of difference was found. One that several reconciliations found counts once."""

    found = whole("The number of differences of this kind.", minimum=1)
    repaired = whole("The number of them that were repaired.", minimum=0)


class LongestGapOut(Answer):
    """The longest time in which an order owed work and made no progress."""

    milliseconds = whole("Its length.", minimum=0)
    orderId = text("The id of the order.", pattern=ORDER_ID)
    after = text("The type of the order's event before it.", enum=list(EVENTS))
    at = moment("The time of that event.")


class PromisesOut(Answer):
    """How well the service kept its promises to the orders made since then."""

    since = moment("The time from which on the orders were made.")
    until = moment("The time of the figures.")
    accepted = whole("The number of orders that got a 201.", minimum=0)
    lost = whole("The number of these that reconciliations missed.", minimum=0)
    doubled = whole(
        "The number of orders with something in their log twice that can happen once, and of second payments "
        "and movements that reconciliations found.",
        minimum=0,
    )
    unreadable = whole("The number of damaged orders and webhooks, which count nowhere else.", minimum=0)
    confirmed = nested(ConfirmationsOut, "The orders that were confirmed, and how fast.")
    expired = mapping(
        "The number of orders that expired, by cause: a hold ended the order, the customer did not act, or "
        "the step was not done in time.",
        properties=dict.fromkeys(EXPIRED_BY, _COUNT),
    )
    refunds = nested(RefundDelaysOut, "The refunds of the orders.")
    webhooks = nested(WebhookAttemptsOut, "The webhooks about the orders.")
    reconciliations = nested(ReconciliationsOut, "The reconciliations of the period.")
    differences = fields.Dict(
        keys=fields.String(metadata={"enum": list(KINDS)}),
        values=fields.Nested(DifferenceCountOut),
        required=True,
        metadata={"description": "What the reconciliations found and repaired, by the kind of difference."},
    )
    longestGap = nested(
        LongestGapOut, "The longest time without progress of one of the orders.", required=False
    )


def shown(found: Promises) -> dict[str, Any]:
    """The figures as the API shows them."""
    figures, differences, gap = found.figures, found.differences, found.figures.longest_gap
    percentiles = {
        f"p{percent}Milliseconds": percentile(figures.confirming, percent)
        for percent in (50, 99)
        if figures.confirming
    }
    return PromisesOut.of(
        {
            "since": found.since,
            "until": found.until,
            "accepted": figures.accepted,
            "lost": differences.lost,
            "doubled": figures.doubled + differences.doubled,
            "unreadable": figures.unreadable,
            "confirmed": {"orders": figures.confirming.total(), **percentiles},
            "expired": {cause: figures.expired[cause] for cause in EXPIRED_BY},
            "refunds": {
                "byDelay": {delay: figures.refunding[delay] for delay in _DELAYS},
                "failed": figures.refunds_failed,
                "pending": figures.refunds_pending,
            },
            "webhooks": {
                "taken": {attempt: figures.taken[int(attempt)] for attempt in _ATTEMPTS},
                "failed": figures.webhooks_failed,
                "pending": figures.webhooks_pending,
            },
            "reconciliations": {"finished": differences.finished, "failed": differences.failed},
            "differences": {
                kind: {"found": number, "repaired": repaired}
                for kind, (number, repaired) in sorted(differences.by_kind.items())
            },
            **({"longestGap": _gap(gap)} if gap else {}),
        }
    )


def _gap(gap: Any) -> dict[str, Any]:
    return {
        "milliseconds": gap.milliseconds,
        "orderId": gap.order_id,
        "after": gap.after,
        "at": gap.at,
    }
