"""The steps that move money: the provider calls of each step, and the changes for each outcome."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from app.orders.bounds import LONGEST_CODE, LONGEST_MESSAGE
from app.orders.model import Change, Order
from app.orders.pieces import PIECES_CANCELLED, lowered, lowering, requested
from app.orders.refunds import is_pending
from app.orders.saving import Saved, save, try_later
from app.orders.service import cancellation
from app.orders.steps import AUTHORIZE, CAPTURE, HELD_CAPTURE, REFUND, VOID, Step
from app.payments import PaymentServices
from app.payments.model import Charge, Outcome, Repayment

# How often an outcome is recorded anew for orders that change meanwhile.
_ROUNDS = 5

# Returns the changes that an outcome makes to an order; empty if it is nothing new.
Changes = Callable[[Order, Outcome], list[Change]]


def authorize(services: PaymentServices, due: list[Order], onward: Sequence[Step]) -> Iterator[Saved]:
    """Reserves the money. If nothing is due, closes the payment instead, so that nobody waits for the
    customer."""
    paid, free = _by_due(due)
    if paid:
        outcomes = services.provider.authorize(_charges(paid))
        yield from _record_outcomes(services, AUTHORIZE, paid, onward, outcomes, _AUTHORIZATION)
    if free:
        outcomes = services.provider.void(_charges(free))
        yield from _record_outcomes(services, AUTHORIZE, free, onward, outcomes, _CLOSING)


def capture(services: PaymentServices, due: list[Order], onward: Sequence[Step]) -> Iterator[Saved]:
    """Takes the money that is due. If nothing is, releases the whole authorization.

    A hold that was placed since the orders were loaded still counts. One that comes later is too late: then
    the outcome is recorded although the order is held.
    """
    held = services.orders.store.held_from_capture([order["id"] for order in due])
    if held:
        yield Saved(lost=sorted(held))
    paid, free = _by_due([order for order in due if order["id"] not in held])
    for going, ask, table in (
        (paid, services.provider.capture, _CAPTURE),
        (free, services.provider.void, _RELEASE),
    ):
        for outcomes in ask(_charges(going)) if going else ():
            for saved in _record_outcomes(services, CAPTURE, going, onward, [outcomes], table):
                yield saved
                yield from _recorded_despite_holds(services, saved.lost, outcomes, onward, table)


def _by_due(orders: Iterable[Order]) -> tuple[list[Order], list[Order]]:
    """The orders that are to be paid for, and those of which nothing is due, since their cancellations have
    taken everything off."""
    paid: list[Order] = []
    free: list[Order] = []
    for order in orders:
        (free if is_free(order) else paid).append(order)
    return paid, free


def _recorded_despite_holds(
    services: PaymentServices,
    lost: Sequence[str],
    outcomes: Mapping[str, Outcome],
    onward: Sequence[Step],
    table: Mapping[str, Changes],
) -> Iterator[Saved]:
    """Records the outcomes of captures for orders that were put on hold meanwhile.

    No step is due for them until their release, so nothing else would record it before then.
    """
    for _ in range(_ROUNDS if lost else 0):
        orders = {
            order["id"]: order for order in services.orders.store.load(lost) if HELD_CAPTURE.is_due(order)
        }
        changes = {key: table[outcomes[key].status](order, outcomes[key]) for key, order in orders.items()}
        saved = save(services.orders, changes, orders, onward)
        yield saved._replace(lost=())
        lost = saved.lost
        if not lost:
            return


def void(services: PaymentServices, due: list[Order], onward: Sequence[Step]) -> Iterator[Saved]:
    """Releases the reserved money of cancelled orders."""
    outcomes = services.provider.void(_charges(due))
    return _record_outcomes(services, VOID, due, onward, outcomes, _VOID)


def refund(services: PaymentServices, due: list[Order], onward: Sequence[Step]) -> Iterator[Saved]:
    """Makes the pending refunds. Outcomes for the same order that arrive together are saved in one write."""
    pending = {
        refund["id"]: (order, Repayment(charge(order), refund["id"], refund["attempt"], refund["amount"]))
        for order in due
        for refund in order.get("refunds", ())
        if is_pending(refund)
    }
    for outcomes in services.provider.refund([repayment for _, repayment in pending.values()]):
        ended: dict[str, list[tuple[Repayment, Outcome]]] = defaultdict(list)
        unknown: dict[str, Order] = {}
        for refund_id, outcome in outcomes.items():
            order, repayment = pending[refund_id]
            if outcome.status in ("refunded", "failed"):
                ended[order["id"]].append((repayment, outcome))
            else:
                unknown[order["id"]] = order
        orders = {order["id"]: order for order in due if order["id"] in ended}
        changes = {key: repaid(orders[key], ends) for key, ends in ended.items()}
        saved = save(services.orders, changes, orders, onward)
        try_later(services.orders, REFUND.name, list(unknown.values()), "provider_unavailable")
        yield saved


def repaid(order: Order, ends: Sequence[tuple[Repayment, Outcome]]) -> list[Change]:
    """The changes for the finished refunds of an order: one for each refund, and one for the payment."""
    changes, given_back = [], order["payment"]["refundedAmount"]
    for repayment, outcome in ends:
        data = {"refundId": repayment.refund_id}
        if outcome.status == "failed":
            changes.append(Change("refund.failed", {**data, "failure": _failure(outcome)}))
        else:
            changes.append(Change("refund.succeeded", data))
            given_back += repayment.amount
    if any(outcome.status == "refunded" for _, outcome in ends):
        whole = given_back == order["payment"]["capturedAmount"]
        kind = "payment.refunded" if whole else "payment.partially_refunded"
        changes.append(Change(kind, {"refundedAmount": given_back}))
    return changes


def charge(order: Order) -> Charge:
    """The charge that the provider gets for an order."""
    payment = order["payment"]
    return Charge(
        order["id"],
        order["totalAmount"],
        order["currency"],
        payment.get("method"),
        order["createdAt"],
        payment.get("reference"),
        lowered(order),
    )


def is_free(order: Order) -> bool:
    """Whether cancellations have taken off all that the order costs."""
    return 0 < order["totalAmount"] <= lowered(order)


def _charges(orders: Sequence[Order]) -> list[Charge]:
    return [charge(order) for order in orders]


def _record_outcomes(
    services: PaymentServices,
    step: Step,
    due: list[Order],
    onward: Sequence[Step],
    groups: Iterable[Mapping[str, Outcome]],
    table: Mapping[str, Changes],
) -> Iterator[Saved]:
    """Saves the changes that the table has for each outcome. The step is retried for any other outcome."""
    orders = {order["id"]: order for order in due}
    for outcomes in groups:
        changes = {
            order_id: table[outcome.status](orders[order_id], outcome)
            for order_id, outcome in outcomes.items()
            if outcome.status in table
        }
        # An outcome that is nothing new is one that still waits for the customer.
        known = [orders[order_id] for order_id, made in changes.items() if not made]
        try_later(services.orders, step.name, known, None)
        unknown = [orders[order_id] for order_id in outcomes if order_id not in changes]
        try_later(services.orders, step.name, unknown, "provider_unavailable")
        made = {order_id: made for order_id, made in changes.items() if made}
        yield save(services.orders, made, orders, onward)


def _failure(outcome: Outcome) -> dict[str, str]:
    """The failure for the order's data. The provider's texts are cut, since they can be long."""
    return {"code": outcome.code[:LONGEST_CODE], "message": outcome.message[:LONGEST_MESSAGE]}


def _authorized(order: Order, outcome: Outcome) -> list[Change]:
    return [Change("payment.authorized", {"reference": outcome.reference})]


def _action_required(order: Order, outcome: Outcome) -> list[Change]:
    """Records the customer's action once. Until the customer acts, the step is retried without a change."""
    if "action" in order["payment"]:
        return []
    action = {"type": outcome.code, "clientSecret": outcome.client_secret}
    return [Change("payment.action_required", {"reference": outcome.reference, "action": action})]


def _declined(order: Order, outcome: Outcome) -> list[Change]:
    data: dict[str, object] = {"failure": _failure(outcome)}
    if outcome.reference:
        data["reference"] = outcome.reference
    return [Change("payment.declined", data), *cancellation(order, "payment_declined")]


def captured(order: Order, amount: int) -> list[Change]:
    """The changes for an amount that is taken.

    It is more than what is due if pieces were cancelled while the capture was on its way. These cancellations
    are the last ones. What they took off is given back.
    """
    return [
        Change("payment.captured", {"capturedAmount": amount}),
        Change("order.confirmed"),
        *_excess_given_back(order, amount - charge(order).due),
    ]


def _excess_given_back(order: Order, excess: int) -> list[Change]:
    asked: list[tuple[str, int]] = []
    for one in reversed(lowering(order)):
        if amount := min(excess, one["amount"]):
            asked.insert(0, (one["id"], amount))
            excess -= amount
    return [
        requested(order, amount, ahead, reason=PIECES_CANCELLED, cancellationId=cancellation_id)
        for ahead, (cancellation_id, amount) in enumerate(asked)
    ]


def _taken(order: Order, outcome: Outcome) -> list[Change]:
    return captured(order, outcome.captured)


def authorization_lost(order: Order, outcome: Outcome | None = None) -> list[Change]:
    """The changes for an authorization that has ended at the provider."""
    failure = {"failure": {"code": "authorization_lost", "message": "The authorization is no longer valid."}}
    return [Change("payment.voided", failure), *cancellation(order, "payment_declined")]


def _voided(order: Order, outcome: Outcome) -> list[Change]:
    return [Change("payment.voided")]


def _captured_before(order: Order, outcome: Outcome) -> list[Change]:
    """The provider captured the money before the order ended, and the order has no record of it: refund
    it."""
    authorized = Change("payment.authorized", {"reference": outcome.reference})
    return [
        *([authorized] if order["payment"]["status"] == "pending" else []),
        Change("payment.captured", {"capturedAmount": outcome.captured}),
        requested(order, outcome.captured),
    ]


_AUTHORIZATION: dict[str, Changes] = {
    "authorized": _authorized,
    "requires_action": _action_required,
    "declined": _declined,
    "voided": authorization_lost,
}
# For an order of which nothing is due, whatever becomes of its authorization.
_CLOSING: dict[str, Changes] = dict.fromkeys(("voided", "declined", "captured"), _authorized)
_CAPTURE: dict[str, Changes] = {
    "captured": _taken,
    "voided": authorization_lost,
    "declined": authorization_lost,
}
_RELEASE: dict[str, Changes] = dict.fromkeys(("voided", "declined", "captured"), _taken)
_VOID: dict[str, Changes] = {"voided": _voided, "declined": _voided, "captured": _captured_before}

# The function that does each step.
EFFECTS = {AUTHORIZE: authorize, CAPTURE: capture, VOID: void, REFUND: refund}
