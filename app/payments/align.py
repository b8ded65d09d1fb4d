"""Brings an order in line with how its payment stands at the provider now, whatever made them differ.

What moved the payment does not matter, nor what was told of it and in which order: the provider is asked, and
the order changed by compare-and-set. So it may be done at any time, twice and amid other workers.
"""

from collections.abc import Callable
from typing import NamedTuple

import structlog

from app.errors import HistoryFull
from app.observability.tracing import about
from app.orders.model import Change, Order, refundable
from app.orders.processing import perform
from app.orders.refunds import next_id, reserved
from app.orders.saving import save
from app.orders.service import cancellation
from app.orders.states import CAPTURED
from app.orders.steps import AUTHORIZE, CAPTURE, REFUND, VOID
from app.payments import PaymentServices
from app.payments.model import Outcome, Outcomes, ProviderPayment, Repayment
from app.payments.steps import charge

log = structlog.get_logger()

AGREED = "agreed"
# The provider, or another step of ours, has to do something first.
WAITING = "waiting"
# Nothing that could safely be done here.
LEFT = "left to a person"

ACTOR = "provider"

_STEPS = (AUTHORIZE, CAPTURE, VOID, REFUND)
_PAID_FOR = ("confirmed", "shipped", "delivered", "cancelled")
_OPEN = ("pending", "authorized")
_CLOSED = ("declined", "voided")
# One to do what is owed, one to change the order, one to see that nothing is left; one in reserve.
_ROUNDS = 4


class _Remedy(NamedTuple):
    """A change of the order; asked for while each of these is one of the values and there are any changes.
    `command` has a limit in `bounds.LIMITS`, where the change may be asked for any number of times."""

    name: str
    status: tuple[str, ...]
    payment: tuple[str, ...]
    at_provider: tuple[str, ...]
    changes: Callable[[Order, ProviderPayment], list[Change]]
    command: str | None = None


def align(services: PaymentServices, order: Order, reference: str | None = None) -> str:
    """What was done about an order's payment; AGREED, WAITING or LEFT where there was nothing to do.

    `reference` is the provider's name for the payment, where the order does not know it yet. An order whose
    payment is closed on our side is over for good: money that comes in all the same is given back by a call
    of its own, without an event in the order's log. Raises ProviderUnavailable, DatabaseUnavailable.
    """
    done: list[str] = []
    for _ in range(_ROUNDS):
        order = _owed_done(services, order)
        asked = charge(order)
        found = services.provider.find(asked._replace(reference=asked.reference or reference))
        if found is None:
            return AGREED if order["payment"]["status"] in ("pending", *_CLOSED) else LEFT
        if (found.amount, found.currency) != (order["totalAmount"], order["currency"]):
            log.error("payment is not what the order asks", reference=found.reference, **about(order))
            return LEFT
        if order["payment"]["status"] in _CLOSED and (closing := _closing(services, order, found)):
            if closing in (WAITING, LEFT):
                return closing
            log.warning("late payment undone", what=closing, **about(order))
            done.append(closing)
            continue
        remedy, changes = _due_change(order, found)
        if remedy is None:
            return WAITING if _waits(order, found) else ", ".join(done) or AGREED
        try:
            beaten = save(
                services.orders, {order["id"]: changes}, {order["id"]: order}, None, ACTOR, remedy.command
            )
        except HistoryFull:
            log.error("history has no room for the refund", **about(order))
            return LEFT
        if not beaten:
            done.append(remedy.name)
        order = _as_it_is_now(services, order)
    return WAITING


def _owed_done(services: PaymentServices, order: Order) -> Order:
    """The order after the steps that move money, as far as they are due."""
    for step in _STEPS:
        if step.is_due(order):
            perform(services.orders, step, [order["id"]])
            order = _as_it_is_now(services, order)
    return order


def _as_it_is_now(services: PaymentServices, order: Order) -> Order:
    """An order that was purged meanwhile stays as it was: nothing can be written to it any more."""
    return next(iter(services.orders.store.load([order["id"]])), order)


def _closing(services: PaymentServices, order: Order, found: ProviderPayment) -> str | None:
    """Undoes a payment that is open or taken at the provider though the order has ended without it."""
    asked = charge(order)._replace(reference=found.reference)
    if found.status in ("authorized", "requires_action"):
        outcome = _outcome(services.provider.void([asked]), order["id"])
        return WAITING if outcome.status == "try_again" else "voided"
    rest = found.captured - found.refunded
    if not rest:
        return None
    # Two that find the same asked back make one refund of it.
    refund_id = f"{order['id']}-late-{found.refunded}"
    outcome = _outcome(services.provider.refund([Repayment(asked, refund_id, 1, rest)]), refund_id)
    if outcome.status == "failed":
        log.error("late payment cannot be given back", code=outcome.code, **about(order))
        return LEFT
    return f"gave back {rest}" if outcome.status == "refunded" else WAITING


def _outcome(groups: Outcomes, key: str) -> Outcome:
    return next(outcomes[key] for outcomes in groups if key in outcomes)


def _due_change(order: Order, found: ProviderPayment) -> tuple[_Remedy | None, list[Change]]:
    for remedy in _REMEDIES:
        if (
            order["status"] in remedy.status
            and order["payment"]["status"] in remedy.payment
            and found.status in remedy.at_provider
            and (changes := remedy.changes(order, found))
        ):
            return remedy, changes
    return None, []


def _waits(order: Order, found: ProviderPayment) -> bool:
    """Whether the order still has to follow the provider, by a step that is on its way."""
    behind = order["payment"]["status"] in _OPEN and found.status not in ("authorized", "requires_action")
    return behind or REFUND.is_due(order)


def _authorized(order: Order, found: ProviderPayment) -> list[Change]:
    return [Change("payment.authorized", {"reference": found.reference})]


def _taken_and_given_back(order: Order, found: ProviderPayment) -> list[Change]:
    """All of it happened at the provider; the order ends with nothing taken."""
    return [
        *(_authorized(order, found) if order["payment"]["status"] == "pending" else []),
        Change("payment.captured", {"capturedAmount": found.captured}),
        *(cancellation(order, "payment_declined") if order["status"] == "pending" else []),
        *_given_back(order, found.captured, found.captured),
    ]


def _refunded_outside(order: Order, found: ProviderPayment) -> list[Change]:
    """What the provider has given back beyond our own refunds, those still on their way among them."""
    payment = order["payment"]
    ours = payment["refundedAmount"] + reserved(order.get("refunds", ()))
    amount = min(found.refunded - ours, refundable(order))
    return _given_back(order, amount, payment["capturedAmount"]) if amount > 0 else []


def _rest_refunded_outside(order: Order, found: ProviderPayment) -> list[Change]:
    """The same where it is the last: nothing can follow it, so there is always room for it."""
    is_last = found.refunded == found.captured == order["payment"]["capturedAmount"]
    is_free = not reserved(order.get("refunds", ()))
    return _refunded_outside(order, found) if is_last and is_free else []


def _given_back(order: Order, amount: int, captured: int) -> list[Change]:
    refund_id = next_id(order["id"], order.get("refunds", ()))
    total = order["payment"]["refundedAmount"] + amount
    kind = "payment.refunded" if total == captured else "payment.partially_refunded"
    asked = {"refundId": refund_id, "amount": amount, "reason": "Made at the payment provider."}
    return [
        Change("refund.requested", asked),
        Change("refund.succeeded", {"refundId": refund_id}),
        Change(kind, {"refundedAmount": total}),
    ]


_REMEDIES = (
    _Remedy("authorized", ("pending",), ("pending",), ("authorized", "captured"), _authorized),
    _Remedy("taken and given back", ("pending", "cancelled"), _OPEN, ("refunded",), _taken_and_given_back),
    _Remedy("refunded outside", _PAID_FOR, CAPTURED, ("refunded",), _rest_refunded_outside),
    _Remedy(
        "refunded outside",
        _PAID_FOR,
        CAPTURED,
        ("captured", "refunded"),
        _refunded_outside,
        "outside_refund",
    ),
)
