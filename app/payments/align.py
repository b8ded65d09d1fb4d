"""Aligns an order with the present state of its payment at the provider, whatever made them differ.

It does not matter how the payment changed, or which events arrived in which order. The provider is asked for
the present state, and the order changes by compare-and-set. So this may run at any time, twice, and beside
other workers.
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
from app.orders.states import CAPTURED, OPEN_PAYMENT, STATUS
from app.orders.steps import AUTHORIZE, CAPTURE, HELD_CAPTURE, REFUND, VOID
from app.payments import PaymentServices
from app.payments.model import Outcome, Outcomes, ProviderPayment, Repayment
from app.payments.steps import authorization_lost, captured, charge, is_free

log = structlog.get_logger()

AGREED = "agreed"
# The provider, or another step of the service, has to act first.
WAITING = "waiting"
# The service cannot do anything safely.
LEFT = "left to a person"

ACTOR = "provider"

_STEPS = (AUTHORIZE, CAPTURE, VOID, REFUND)
_PAID_FOR = tuple(status for status in STATUS if status != "pending")
_CLOSED = ("declined", "voided")
# One round for the due steps, one to change the order, one to see that nothing is left, and one in reserve.
_ROUNDS = 4


class _Remedy(NamedTuple):
    """A change of the order, for the given states of the order and of the payment at the provider.

    `changes` may return no change. A change that can repeat without limit has a `command` with a limit in
    `bounds.LIMITS`.
    """

    name: str
    status: tuple[str, ...]
    payment: tuple[str, ...]
    at_provider: tuple[str, ...]
    changes: Callable[[Order, ProviderPayment], list[Change]]
    command: str | None = None


def align(services: PaymentServices, order: Order, reference: str | None = None) -> str:
    """Aligns the order and returns a text about what was done, or AGREED, WAITING or LEFT.

    `reference` is the provider's id of the payment, in case the order does not have it yet. An order whose
    payment is closed never opens again: money that still arrives is returned by a call of its own, without an
    event in the order's log. Raises ProviderUnavailable, DatabaseUnavailable.
    """
    done: list[str] = []
    for _ in range(_ROUNDS):
        order = _due_steps_done(services, order)
        own = charge(order)
        found = services.provider.find(own._replace(reference=own.reference or reference))
        if found is None:
            return AGREED if order["payment"]["status"] in ("pending", *_CLOSED) else LEFT
        if (found.amount, found.currency) != (order["totalAmount"], order["currency"]):
            log.error("payment differs from the order's total", reference=found.reference, **about(order))
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
            changed = {order["id"]: changes}
            saved = save(services.orders, changed, {order["id"]: order}, actor=ACTOR, command=remedy.command)
        except HistoryFull:
            log.error("order's log is full, refund not recorded", **about(order))
            return LEFT
        if not saved.lost:
            done.append(remedy.name)
        order = _reloaded(services, order)
    return WAITING


def _due_steps_done(services: PaymentServices, order: Order) -> Order:
    """The order after those steps that move money and are due."""
    for step in _STEPS:
        if step.is_due(order):
            perform(services.orders, step, [order["id"]])
            order = _reloaded(services, order)
    return order


def _reloaded(services: PaymentServices, order: Order) -> Order:
    """The present order, or the given one if it was purged meanwhile."""
    return next(iter(services.orders.store.load([order["id"]])), order)


def _closing(services: PaymentServices, order: Order, found: ProviderPayment) -> str | None:
    """Undoes a payment that is open or captured at the provider although the order ended without it."""
    late = charge(order)._replace(reference=found.reference)
    if found.status in ("authorized", "requires_action"):
        outcome = _outcome(services.provider.void([late]), order["id"])
        return WAITING if outcome.status == "try_again" else "voided"
    rest = found.captured - found.refunded
    if not rest:
        return None
    # Two workers that do this at once use the same id, so the provider makes one refund.
    refund_id = f"{order['id']}-late-{found.refunded}"
    outcome = _outcome(services.provider.refund([Repayment(late, refund_id, 1, rest)]), refund_id)
    if outcome.status == "failed":
        log.error("late payment cannot be refunded", code=outcome.code, **about(order))
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
    """Whether a step that is under way still has to change the order."""
    behind = order["payment"]["status"] in OPEN_PAYMENT and found.status not in (
        "authorized",
        "requires_action",
    )
    return behind or REFUND.is_due(order)


def _authorized(order: Order, found: ProviderPayment) -> list[Change]:
    return [Change("payment.authorized", {"reference": found.reference})]


def _taken_and_given_back(order: Order, found: ProviderPayment) -> list[Change]:
    """The provider captured and refunded the whole payment, so the order ends."""
    return [
        *(_authorized(order, found) if order["payment"]["status"] == "pending" else []),
        Change("payment.captured", {"capturedAmount": found.captured}),
        *(_ended(order) if order["status"] == "pending" else []),
        *_given_back(order, found.captured, found.captured),
    ]


def _ended(order: Order) -> list[Change]:
    """The changes that end the order, whose payment is captured by then."""
    return [change for change in cancellation(order, "payment_declined") if change.type != "payment.voided"]


def _refunded_outside(order: Order, found: ProviderPayment) -> list[Change]:
    """Records what the provider refunded beyond the order's own refunds, including pending ones."""
    payment = order["payment"]
    recorded = payment["refundedAmount"] + reserved(order.get("refunds", ()))
    amount = min(found.refunded - recorded, refundable(order))
    return _given_back(order, amount, payment["capturedAmount"]) if amount > 0 else []


def _rest_refunded_outside(order: Order, found: ProviderPayment) -> list[Change]:
    """As `_refunded_outside`, if it completes the refund of all captured money.

    Only then is it recorded without a limit: nothing can follow it.
    """
    is_last = found.refunded == found.captured == order["payment"]["capturedAmount"]
    is_free = not reserved(order.get("refunds", ()))
    return _refunded_outside(order, found) if is_last and is_free else []


def _given_back(order: Order, amount: int, captured: int) -> list[Change]:
    refund_id = next_id(order["id"], order.get("refunds", ()))
    total = order["payment"]["refundedAmount"] + amount
    kind = "payment.refunded" if total == captured else "payment.partially_refunded"
    data = {"refundId": refund_id, "amount": amount, "reason": "Made at the payment provider."}
    return [
        Change("refund.requested", data),
        Change("refund.succeeded", {"refundId": refund_id}),
        Change(kind, {"refundedAmount": total}),
    ]


def _captured_although_held(order: Order, found: ProviderPayment) -> list[Change]:
    return captured(order, found.captured) if HELD_CAPTURE.is_due(order) else []


def _lost_while_held(order: Order, found: ProviderPayment) -> list[Change]:
    return authorization_lost(order) if HELD_CAPTURE.is_due(order) and not is_free(order) else []


_REMEDIES = (
    _Remedy("authorized", ("pending",), ("pending",), ("authorized", "captured"), _authorized),
    _Remedy("captured", ("pending",), ("authorized",), ("captured",), _captured_although_held),
    _Remedy("authorization lost", ("pending",), ("authorized",), _CLOSED, _lost_while_held),
    _Remedy(
        "taken and given back", ("pending", "cancelled"), OPEN_PAYMENT, ("refunded",), _taken_and_given_back
    ),
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
