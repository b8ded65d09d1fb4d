"""The event table: every state an order can reach owes a step or is at rest, and the relay hears of each."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from app.clock import id_at
from app.errors import IllegalTransition
from app.orders.events import EVENTS, PUBLIC
from app.orders.holds import HOLDABLE
from app.orders.model import Change, Order, advance, create, quantities, refundable
from app.orders.pieces import lowered
from app.orders.refunds import Refund, is_pending, next_id, to_restock
from app.orders.shortages import NOT_TAKEN, is_without_payment
from app.orders.states import CAPTURED, TRANSITIONS
from app.orders.steps import (
    ANNOUNCE,
    AUTHORIZE,
    CAPTURE,
    DECREMENT,
    DECREMENT_FIRST,
    FIRST,
    REFUND,
    RESTOCK,
    RESTOCK_CANCELLED,
    RESTOCK_REFUNDED,
    RESTOCK_RETURNED,
    STEPS,
    VOID,
    Step,
    due,
    set_in_motion,
    started,
    to_send,
)

AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
TOTAL = 2
MOST_REFUNDS = 3

# Lines are cut to what is there.
CUT = ("cancellation.created", "stock.decremented")
# The writes that each step can end in, and those of clients and of the expiry.
ENDS: dict[Step, tuple[tuple[str, ...], ...]] = {
    AUTHORIZE: (
        ("payment.authorized",),
        ("payment.action_required",),
        ("payment.declined", "order.cancelled", "stock.released"),
        ("payment.voided", "order.cancelled", "stock.released"),
    ),
    DECREMENT_FIRST: (
        ("stock.decremented",),
        ("stock.backordered",),
        CUT,
        ("stock.insufficient", "order.cancelled", "payment.voided"),
    ),
    DECREMENT: (("stock.decremented",), CUT, ("stock.insufficient", "order.cancelled")),
    CAPTURE: (
        ("payment.captured", "order.confirmed"),
        ("payment.captured", "order.confirmed", "refund.requested"),
        ("payment.voided", "order.cancelled"),
    ),
    VOID: (
        ("payment.voided",),
        ("payment.captured", "refund.requested"),
        ("payment.authorized", "payment.captured", "refund.requested"),
    ),
    REFUND: (
        ("refund.succeeded", "payment.refunded"),
        ("refund.succeeded", "payment.partially_refunded"),
        ("refund.failed",),
    ),
    RESTOCK_CANCELLED: (("cancellation.restocked",),),
    RESTOCK: (("stock.restocked",),),
    RESTOCK_REFUNDED: (("refund.restocked",),),
    RESTOCK_RETURNED: (("return.restocked",),),
}
CLIENTS = (
    ("order.cancelled", "stock.released"),
    ("order.cancelled", "stock.released", "payment.voided"),
    ("order.cancelled",),
    ("order.cancelled", "refund.requested"),
    ("order.shipped",),
    ("order.delivered",),
    ("refund.requested",),
    ("refund.retried",),
    ("cancellation.created",),
    ("cancellation.created", "refund.requested"),
    ("cancellation.created", "order.cancelled"),
    ("cancellation.created", "order.cancelled", "stock.released"),
    ("cancellation.created", "order.cancelled", "stock.released", "payment.voided"),
    ("cancellation.created", "order.cancelled", "refund.requested"),
    ("return.requested", "return.approved", "return.received"),
    ("hold.placed",),
    ("hold.released",),
)
# The writes of the service when the time of a hold is over.
HOLDS_END = (
    ("hold.expired",),
    ("hold.expired", "order.cancelled", "stock.released"),
    ("hold.expired", "order.cancelled", "stock.released", "payment.voided"),
    ("hold.expired", "order.cancelled"),
    ("hold.expired", "order.cancelled", "refund.requested"),
)
# What the service writes when stock comes for a backorder, and when its time is over.
WAITING_ENDS = (("stock.decremented",), ("stock.insufficient", "order.cancelled", "payment.voided"))
# How the stock of an order is taken: after the payment, before it, or before it and as soon as it comes.
KINDS: dict[str, dict[str, Any]] = {
    "backorder": {"stockFirst": True, "onShortage": "backorder", "backorderUntil": AT + timedelta(days=1)},
    "cut, stock first": {"stockFirst": True, "onShortage": "partial"},
    "stock first": {"stockFirst": True},
    "cut": {"onShortage": "partial"},
    "paid first": {},
}
HOLD = {"code": "review", "blocks": ["capture", "ship"], "until": AT, "then": "cancel"}

# The three axes, of each refund its status and whether its goods are back, whether the order is held, of each
# part cancellation whether it lowers the capture and whether its goods are back, of each return whether its
# goods are back, and the kind of the order.
State = tuple[
    str,
    str,
    str,
    tuple[tuple[str, bool], ...],
    bool,
    tuple[tuple[bool, bool | None], ...],
    tuple[bool, ...],
    str,
]


def state(order: Order) -> State:
    """Where the order stands on its axes, and its refunds."""
    refunds = tuple((refund["status"], "restocked" in refund) for refund in order.get("refunds", ()))
    cancelled = tuple(("lowers" in one, one.get("restocked")) for one in order.get("cancellations", ()))
    axes = order["status"], order["payment"]["status"], order["stock"]["status"]
    returned = tuple("restocked" in one["receipts"][0] for one in order.get("returns", ()))
    kind = next(name for name, stated in KINDS.items() if stated == {key: order.get(key) for key in stated})
    if axes[2] == "backordered" and DECREMENT_FIRST.is_due(order):
        kind += " that needs less"
    return *axes, refunds, "holds" in order, cancelled, returned, kind


def owed(order: Order) -> set[str]:
    """The steps that the order owes, announcements left out."""
    return set(due(order)) - {ANNOUNCE.name}


def written(order: Order, write: tuple[str, ...]) -> Order | None:
    """The order after the write, None where the rules forbid it: the tables, or that no stock stays reserved
    for a cancelled order, none of its money unasked for, and no more is asked back than was taken."""
    after = order
    for kind in write:
        data = data_of(after, kind, write)
        if data is None:
            return None
        try:
            after = advance(after, AT, "u", [Change(kind, data)])
        except IllegalTransition:
            return None
    payment = after["payment"]
    forbidden = (
        # A payment that was never asked for is void at once, and only then.
        ("order.cancelled" in write and (write[-1] == "payment.voided") != is_without_payment(order))
        or (write == CUT and order.get("onShortage") != "partial")
        or (write == ("stock.decremented",) and "stockFirst" in order and payment["status"] != "pending")
        or (after["status"] == "cancelled" and after["stock"]["status"] in NOT_TAKEN)
        or ("order.cancelled" in write and payment["status"] in CAPTURED and refundable(after) > 0)
        or ("payment.refunded" in write)
        != (payment["refundedAmount"] == payment["capturedAmount"] > order["payment"]["refundedAmount"])
    )
    return None if forbidden else after


# A capture that lands after a part cancellation, and was asked for before it.
LATE = ("payment.captured", "order.confirmed", "refund.requested")


def of_pieces(order: Order, kind: str, write: tuple[str, ...]) -> dict[str, Any] | None:
    """The data of a wait, of a capture, or of an event of the order's only part cancellation."""
    if kind == "stock.backordered":
        shortage = {"productId": "apple", "requested": quantities(order)["apple"], "available": 0}
        return {"shortages": [shortage]} if "backorderUntil" in order else None
    if kind == "payment.captured":
        if write == LATE and not lowered(order):
            return None
        return {"capturedAmount": TOTAL - (0 if write == LATE else lowered(order))}
    if kind == "cancellation.restocked":
        return {"cancellationId": "c"}
    if "cancellations" in order or order["status"] not in HOLDABLE:
        return None
    return {"cancellationId": "c", "products": [{"line": 1, "quantity": 1}], "amount": 1}


def of_return(order: Order, kind: str) -> dict[str, Any] | None:
    """The data of an event of the order's only return."""
    if kind == "return.requested" and ("returns" in order or order["status"] != "delivered"):
        return None
    pieces = [{"line": 1, "quantity": 1, "condition": "resellable"}]
    return {
        "return.requested": {"returnId": "r", "products": pieces, "refund": "none"},
        "return.approved": {"returnId": "r"},
        "return.received": {"returnId": "r", "receipt": 1, "products": pieces},
        "return.restocked": {"returnId": "r", "receipt": 1},
    }[kind]


def data_of(order: Order, kind: str, write: tuple[str, ...]) -> dict[str, Any] | None:
    """The data of an event; None where it makes no sense. A refund asked for alone is of half the money."""
    refunds = order.get("refunds", [])
    if kind in ("stock.backordered", "payment.captured", "cancellation.created", "cancellation.restocked"):
        return of_pieces(order, kind, write)
    if kind.startswith("return."):
        return of_return(order, kind)
    if kind in ("payment.refunded", "payment.partially_refunded"):
        return {"refundedAmount": sum(r["amount"] for r in refunds if r["status"] == "succeeded")}
    if kind == "refund.requested":
        is_part = write in (("refund.requested",), ("cancellation.created", "refund.requested"), LATE)
        amount = min(1, refundable(order)) if is_part else refundable(order)
        if not amount or len(refunds) == MOST_REFUNDS or order["payment"]["status"] not in CAPTURED:
            return None
        lines = [{"productId": "apple", "quantity": 1, "restock": True}]
        return {"refundId": next_id(order["id"], refunds), "amount": amount, "products": lines}
    asked: dict[str, Callable[[Refund], object]] = {
        "refund.retried": lambda refund: (
            refund["status"] == "failed" and refund["amount"] <= refundable(order)
        ),
        "refund.succeeded": is_pending,
        "refund.failed": is_pending,
        "refund.restocked": to_restock,
    }
    if kind in asked:
        chosen = next(filter(asked[kind], refunds), None)
        done = {"restocked": True} if kind == "refund.restocked" else {}
        return {"refundId": chosen["id"], **done} if chosen else None
    if kind == "hold.placed":
        return HOLD if order["status"] in HOLDABLE and "holds" not in order else None
    if kind in ("hold.released", "hold.expired"):
        return {"code": HOLD["code"]} if "holds" in order else None
    if kind == "payment.action_required":
        return None if "action" in order["payment"] else {"action": {"type": "3ds"}}
    return {}


@cache
def reachable() -> dict[State, tuple[Order, tuple[tuple[tuple[str, ...], bool, Order], ...]]]:
    """Every state, an order in it, and the writes out of it: events, whether by a step, the order then."""
    unseen = [
        create(
            id_at(AT),
            AT,
            "u",
            {
                "userId": "u",
                "products": [{"productId": "apple", "quantity": 2}],
                "totalAmount": TOTAL,
                "currency": "USD",
                **kind,
            },
            None,
        )
        for kind in KINDS.values()
    ]
    found: dict[State, tuple[Order, tuple[tuple[tuple[str, ...], bool, Order], ...]]] = {}
    while unseen:
        order = unseen.pop()
        if state(order) in found:
            continue
        writes = tuple(possible(order))
        found[state(order)] = order, writes
        unseen += [after for _, _, after in writes]
    return found


def possible(order: Order) -> Iterator[tuple[tuple[str, ...], bool, Order]]:
    """The writes that may follow, whether a step makes them, and the order after each."""
    ends = [(write, True) for step, writes in ENDS.items() if step.is_due(order) for write in writes]
    if order["stock"]["status"] == "backordered":
        ends += [(write, False) for write in WAITING_ENDS]
    for write, by_step in [*ends, *((write, False) for write in (*CLIENTS, *HOLDS_END))]:
        if after := written(order, write):
            yield write, by_step, after


def at_rest(now: State) -> bool:
    """Whether nothing is open: all taken for an order that goes on, all given back for one that ended. A
    refund that has failed waits for a person, a capture that is held too, and a backorder for stock."""
    status, payment, stock, refunds, held, cancelled, returned, kind = now
    if any(back is False for _, back in cancelled) or not all(returned):
        return False
    if held and (status, payment, stock) == ("pending", "authorized", "decremented"):
        return True
    if (status, stock) == ("pending", "backordered"):
        return kind == "backorder"
    if any(refund == "pending" or (refund == "succeeded" and not back) for refund, back in refunds):
        return False
    if status == "cancelled":
        failed = any(refund == "failed" for refund, _ in refunds)
        return (payment in ("voided", "declined", "refunded") or failed) and stock in (
            "released",
            "insufficient",
            "restocked",
        )
    return (
        status in ("confirmed", "shipped", "delivered")
        and payment in (*CAPTURED, "refunded")
        and stock == "decremented"
    )


def test_every_reachable_state_owes_a_step_or_is_at_rest_and_never_both() -> None:
    for now, (order, _) in reachable().items():
        assert bool(owed(order)) != at_rest(now), now


def test_the_steps_lead_to_rest_whatever_their_outcomes_and_never_in_circles() -> None:
    def longest(now: State, passed: tuple[State, ...]) -> int:
        assert now not in passed, passed
        order, writes = reachable()[now]
        # Only events that lead on. A repeated request to the customer does not.
        by_steps = [after for _, by_step, after in writes if by_step and state(after) != now]
        assert bool(by_steps) == bool(owed(order)), now
        return max((1 + longest(state(after), (*passed, now)) for after in by_steps), default=0)

    assert max(longest(now, ()) for now in reachable()) <= 12


def test_a_step_that_becomes_due_is_set_in_motion_by_the_write_that_made_it_due() -> None:
    for order, writes in reachable().values():
        for write, _, after in writes:
            assert owed(after) - owed(order) <= set_in_motion(write), (state(order), write)
            assert owed(after) - owed(order) <= started(write, after) <= set(due(after))


@pytest.mark.parametrize(
    ("kind", "first"),
    [("paid first", AUTHORIZE), ("stock first", DECREMENT_FIRST), ("backorder", DECREMENT_FIRST)],
)
def test_a_new_order_owes_its_first_step_and_its_announcement(kind: str, first: Step) -> None:
    order, _ = reachable()["pending", "pending", "pending", (), False, (), (), kind]
    assert set(due(order)) == started(["order.created"], order) == {first.name, ANNOUNCE.name}
    assert to_send(["order.created"], stock_first="stockFirst" in order) == {first.name}


@pytest.mark.parametrize("step", [step for step in STEPS if step is not ANNOUNCE], ids=lambda step: step.name)
def test_each_event_that_sets_a_step_in_motion_can_lead_to_a_state_where_it_is_due(step: Step) -> None:
    for kind in step.after:
        assert kind in EVENTS
        if kind == "order.created":
            assert step in FIRST
            continue
        assert any(
            kind in write and step.is_due(after)
            for _, writes in reachable().values()
            for write, _, after in writes
        ), kind


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_asks_only_for_states_that_the_tables_know(step: Step) -> None:
    assert set(step.status) <= set(TRANSITIONS["order"])
    assert set(step.payment) <= set(TRANSITIONS["payment"])
    assert set(step.stock) <= set(TRANSITIONS["stock"])
    assert any(step.is_due(order) for order, _ in reachable().values())


def test_every_public_event_is_announced_and_no_other() -> None:
    for kind in EVENTS:
        assert (ANNOUNCE.name in set_in_motion([kind])) == (kind in PUBLIC)


def test_announcing_is_due_until_the_last_public_event_is_announced() -> None:
    order, _ = reachable()["pending", "pending", "pending", (), False, (), (), "paid first"]
    assert ANNOUNCE.name in due(order)
    assert ANNOUNCE.name not in due({**order, "announced": 1})
    authorized = advance(order, AT, "u", [Change("payment.authorized")])
    assert ANNOUNCE.name not in due({**authorized, "announced": 1})
    cancelled = advance(authorized, AT, "u", [Change("order.cancelled")])
    assert ANNOUNCE.name in due({**cancelled, "announced": 2})
