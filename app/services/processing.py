"""The background steps of an order: load, see whether the step is still due, do its effect, compare-and-set.

A step done already does nothing, so a message may be lost, doubled, late or out of order, and a process may
die between any two lines: doing the step again repairs it. Effects on the outside world carry an idempotency
key made of order and step; stock moves in the same transaction as the order that takes it.
"""

from collections.abc import Callable, Sequence

import structlog

from app.domain.backoff import backoff
from app.domain.clock import new_id
from app.domain.errors import DatabaseUnavailable
from app.domain.order import Change, Order, advance, quantities
from app.domain.payments import Charge, Outcome, Outcomes
from app.domain.steps import AUTHORIZE, CAPTURE, DECREMENT, REFUND, RESTOCK, VOID, Step
from app.domain.stock import Movement, allocate, totals
from app.services.ordering import cancellation
from app.services.shop import Shop
from app.storage.database import Transaction

log = structlog.get_logger()

ACTOR = "system"
# How often a batch is taken up again at once for the orders that somebody else changed meanwhile. What is
# left after that waits for the sweep.
_ROUNDS = 8


class _Moved(Exception):
    """Another process changed an order of the batch; nothing of the transaction is written."""


def perform(shop: Shop, step: Step, order_ids: Sequence[str]) -> None:
    """Does the step for those of the orders that it is due for.

    An order that makes the step fail by a fault of ours is set aside, logged and tried again later: it
    spoils nothing for the others. Raises DatabaseUnavailable.
    """
    left = list(order_ids)
    for _ in range(_ROUNDS):
        due = [order for order in shop.orders.load(left) if step.is_due(order)]
        if not due:
            return
        left = _attempt(shop, step, due)
    if left:
        log.warning("step left to the sweep", step=step.name, order_ids=left)


def _attempt(shop: Shop, step: Step, due: list[Order]) -> list[str]:
    """The ids of the orders whose state had moved on, to be looked at again."""
    try:
        return _EFFECTS[step](shop, due)
    except DatabaseUnavailable:
        raise
    except Exception:
        if len(due) > 1:
            return [moved for order in due for moved in _attempt(shop, step, [order])]
        log.exception("step failed", step=step.name, order_id=due[0]["id"])
        _try_later(shop, due)
        return []


def _pay(
    call: Callable[[Shop, Sequence[Charge]], Outcomes],
    changes_for: dict[str, Callable[[Order, Outcome], list[Change]]],
) -> Callable[[Shop, list[Order]], list[str]]:
    """The effect that calls the provider and turns each outcome into the changes the table names for it."""

    def effect(shop: Shop, due: list[Order]) -> list[str]:
        orders = {order["id"]: order for order in due}
        moved: list[str] = []
        for outcomes in call(shop, [_charge(order) for order in due]):
            unknown = [
                orders[order_id]
                for order_id, outcome in outcomes.items()
                if outcome.status not in changes_for
            ]
            _try_later(shop, unknown)
            moved += _save(
                shop,
                {
                    order_id: changes_for[outcome.status](orders[order_id], outcome)
                    for order_id, outcome in outcomes.items()
                    if outcome.status in changes_for
                },
                orders,
            )
        return moved

    return effect


def _authorized(order: Order, outcome: Outcome) -> list[Change]:
    return [Change("payment.authorized", {"reference": outcome.reference})]


def _declined(order: Order, outcome: Outcome) -> list[Change]:
    failure = {"failure": {"code": outcome.code, "message": outcome.message}}
    return [Change("payment.declined", failure), *cancellation(order, "payment_declined")]


def _captured(order: Order, outcome: Outcome) -> list[Change]:
    return [
        Change("payment.captured", {"capturedAmount": order["totalAmount"]}),
        Change("order.confirmed"),
    ]


def _authorization_lost(order: Order, outcome: Outcome) -> list[Change]:
    failure = {"failure": {"code": "authorization_lost", "message": "The authorization is no longer valid."}}
    return [Change("payment.voided", failure), *cancellation(order, "payment_declined")]


def _voided(order: Order, outcome: Outcome) -> list[Change]:
    return [Change("payment.voided")]


def _refunded(order: Order, outcome: Outcome) -> list[Change]:
    return [Change("payment.refunded", {"refundedAmount": order["totalAmount"]})]


def _captured_then_refunded(order: Order, outcome: Outcome) -> list[Change]:
    """The money had been taken when the order ended, before our own record of it; it goes back."""
    authorized = [Change("payment.authorized")] if order["payment"]["status"] == "pending" else []
    captured = Change("payment.captured", {"capturedAmount": order["totalAmount"]})
    return [*authorized, captured, *_refunded(order, outcome)]


def _close(shop: Shop, charges: Sequence[Charge]) -> Outcomes:
    """Voids, and refunds what turns out to have been captured already."""
    by_id = {charge.order_id: charge for charge in charges}
    for outcomes in shop.payments.void(charges):
        taken = [by_id[order_id] for order_id, outcome in outcomes.items() if outcome.status == "captured"]
        yield {order_id: outcome for order_id, outcome in outcomes.items() if outcome.status != "captured"}
        if taken:
            yield from shop.payments.refund(taken)


def _decrement(shop: Shop, due: list[Order]) -> list[str]:
    orders = {order["id"]: order for order in due}
    wanted = {product for order in due for product in quantities(order)}

    def take(transaction: Transaction) -> None:
        at = shop.clock()
        on_hand = shop.stock.on_hand(wanted, transaction)
        taken, short = allocate(due, on_hand, strict=shop.settings.stock_policy == "strict")
        rows = [
            Movement(
                id=new_id(at),
                productId=product,
                quantity=-quantity,
                kind="decrement",
                at=at,
                orderId=order_id,
            )
            for order_id, lines in taken.items()
            for product, quantity in lines.items()
        ]
        deltas = {product: -quantity for product, quantity in totals(taken.values()).items()}
        if not shop.stock.move(deltas, rows, at, transaction):
            raise _Moved
        changes = {order_id: [Change("stock.decremented")] for order_id in taken}
        for order_id, shortages in short.items():
            changes[order_id] = [
                Change("stock.insufficient", {"shortages": shortages}),
                Change("order.cancelled", {"cancellation": {"reason": "out_of_stock"}}),
            ]
        if _save(shop, changes, orders, transaction):
            raise _Moved

    return _unless_moved(shop, take, due)


def _restock(shop: Shop, due: list[Order]) -> list[str]:
    orders = {order["id"]: order for order in due}

    def put_back(transaction: Transaction) -> None:
        at = shop.clock()
        taken = shop.stock.decrements_of(list(orders), transaction)
        rows = [
            Movement(
                id=new_id(at),
                productId=row["productId"],
                quantity=-row["quantity"],
                kind="restock",
                at=at,
                orderId=row["orderId"],
            )
            for row in taken
        ]
        deltas = totals({row["productId"]: row["quantity"]} for row in rows)
        if not shop.stock.move(deltas, rows, at, transaction):
            raise _Moved
        if _save(shop, {order_id: [Change("stock.restocked")] for order_id in orders}, orders, transaction):
            raise _Moved

    return _unless_moved(shop, put_back, due)


_EFFECTS: dict[Step, Callable[[Shop, list[Order]], list[str]]] = {
    AUTHORIZE: _pay(
        lambda shop, charges: shop.payments.authorize(charges),
        {"authorized": _authorized, "declined": _declined, "voided": _authorization_lost},
    ),
    DECREMENT: _decrement,
    CAPTURE: _pay(
        lambda shop, charges: shop.payments.capture(charges),
        {"captured": _captured, "voided": _authorization_lost, "declined": _authorization_lost},
    ),
    VOID: _pay(
        _close,
        {"voided": _voided, "declined": _voided, "refunded": _captured_then_refunded},
    ),
    REFUND: _pay(lambda shop, charges: shop.payments.refund(charges), {"refunded": _refunded}),
    RESTOCK: _restock,
}


def _save(
    shop: Shop,
    changes: dict[str, list[Change]],
    orders: dict[str, Order],
    transaction: Transaction | None = None,
) -> list[str]:
    at = shop.clock()
    pairs = [
        (orders[order_id], advance(orders[order_id], at, ACTOR, made)) for order_id, made in changes.items()
    ]
    return shop.orders.append_all(pairs, shop.due_by(), transaction)


def _unless_moved(shop: Shop, work: Callable[[Transaction], None], due: list[Order]) -> list[str]:
    try:
        shop.transact(work)
    except _Moved:
        return [order["id"] for order in due]
    return []


def _try_later(shop: Shop, orders: Sequence[Order]) -> None:
    if orders:
        now = shop.clock()
        shop.duties.postpone({order["id"]: now + backoff(order.get("attempts", 0)) for order in orders})


def _charge(order: Order) -> Charge:
    return Charge(order["id"], order["totalAmount"], order["currency"], order["payment"].get("method"))
