"""The event table: every state an order can reach owes a step or is at rest, and the relay hears of each."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache

import pytest

from app.domain.clock import id_at
from app.domain.order import MOVES, PUBLIC, TRANSITIONS, Change, Order, advance, create
from app.domain.steps import (
    ANNOUNCE,
    AUTHORIZE,
    CAPTURE,
    DECREMENT,
    REFUND,
    RESTOCK,
    STEPS,
    VOID,
    Step,
    due,
    set_in_motion,
)

AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
CANCEL = ("order.cancelled", "stock.released")
CANCEL_TAKEN = ("order.cancelled",)

# The writes that each step can end in, and those of clients and of the expiry.
ENDS: dict[Step, tuple[tuple[str, ...], ...]] = {
    AUTHORIZE: (("payment.authorized",), ("payment.declined", *CANCEL), ("payment.voided", *CANCEL)),
    DECREMENT: (("stock.decremented",), ("stock.insufficient", "order.cancelled")),
    CAPTURE: (("payment.captured", "order.confirmed"), ("payment.voided", "order.cancelled")),
    VOID: (
        ("payment.voided",),
        ("payment.captured", "payment.refunded"),
        ("payment.authorized", "payment.captured", "payment.refunded"),
    ),
    REFUND: (("payment.refunded",),),
    RESTOCK: (("stock.restocked",),),
}
CLIENTS = (CANCEL, CANCEL_TAKEN, ("order.shipped",), ("order.delivered",), ("payment.partially_refunded",))

State = tuple[str, str, str]


def state(order: Order) -> State:
    """Where the order stands on its three axes."""
    return order["status"], order["payment"]["status"], order["stock"]["status"]


def owed(order: Order) -> set[str]:
    """The steps that the order owes, announcements left out."""
    return set(due(order)) - {ANNOUNCE}


def allowed(order: Order, write: tuple[str, ...]) -> bool:
    """Whether the tables allow the write, and it leaves no untaken stock reserved."""
    now = dict(zip(("order", "payment", "stock"), state(order), strict=True))
    for kind in write:
        axis, value = MOVES[kind]
        if value is None or value not in TRANSITIONS[axis][now[axis]]:
            return False
        now[axis] = value
    return not (now["order"] == "cancelled" and now["stock"] == "pending")


@cache
def reachable() -> dict[State, tuple[Order, tuple[tuple[tuple[str, ...], bool, Order], ...]]]:
    """Every state, an order in it, and the writes out of it: events, whether by a step, the order then."""
    born = create(
        id_at(AT),
        AT,
        "u",
        {
            "userId": "u",
            "products": [{"productId": "apple", "quantity": 1}],
            "totalAmount": 1,
            "currency": "USD",
        },
        None,
    )
    found: dict[State, tuple[Order, tuple[tuple[tuple[str, ...], bool, Order], ...]]] = {}
    unseen = [born]
    while unseen:
        order = unseen.pop()
        if state(order) in found:
            continue
        writes = tuple(
            (write, by_step, advance(order, AT, "u", [Change(kind) for kind in write]))
            for write, by_step in possible(order)
        )
        found[state(order)] = order, writes
        unseen += [after for _, _, after in writes]
    return found


def possible(order: Order) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The writes that may follow, and whether a step makes them."""
    for step, ends in ENDS.items():
        if step.is_due(order):
            yield from ((write, True) for write in ends if allowed(order, write))
    for write in CLIENTS:
        if allowed(order, write):
            yield write, False


def at_rest(now: State) -> bool:
    """Whether nothing is open: all taken for an order that goes on, all given back for one that ended."""
    status, payment, stock = now
    if status == "cancelled":
        return payment in ("voided", "declined", "refunded") and stock in (
            "released",
            "insufficient",
            "restocked",
        )
    return (
        status in ("confirmed", "shipped", "delivered")
        and payment in ("captured", "partially_refunded")
        and stock == "decremented"
    )


def test_every_reachable_state_owes_a_step_or_is_at_rest_and_never_both() -> None:
    for now, (order, _) in reachable().items():
        assert bool(owed(order)) != at_rest(now), now


def test_the_steps_lead_to_rest_whatever_their_outcomes_and_never_in_circles() -> None:
    def longest(now: State, passed: tuple[State, ...]) -> int:
        assert now not in passed, passed
        order, writes = reachable()[now]
        by_steps = [after for _, by_step, after in writes if by_step]
        assert bool(by_steps) == bool(owed(order)), now
        return max((1 + longest(state(after), (*passed, now)) for after in by_steps), default=0)

    assert max(longest(now, ()) for now in reachable()) <= 5


def test_a_step_that_becomes_due_is_set_in_motion_by_the_write_that_made_it_due() -> None:
    for order, writes in reachable().values():
        for write, _, after in writes:
            assert owed(after) - owed(order) <= set_in_motion(write), (state(order), write)


def test_a_new_order_owes_its_authorization_and_its_announcement() -> None:
    order, _ = reachable()["pending", "pending", "pending"]
    assert set(due(order)) == set_in_motion(["order.created"]) == {AUTHORIZE.name, ANNOUNCE}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_each_event_that_sets_a_step_in_motion_can_lead_to_a_state_where_it_is_due(step: Step) -> None:
    for kind in step.after:
        assert kind in MOVES
        if kind == "order.created":
            assert step is AUTHORIZE
            continue
        assert any(
            kind in write and step.is_due(after)
            for _, writes in reachable().values()
            for write, _, after in writes
        ), kind


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_asks_only_for_states_that_the_tables_know(step: Step) -> None:
    assert step.status in TRANSITIONS["order"]
    assert set(step.payment) <= set(TRANSITIONS["payment"])
    assert set(step.stock) <= set(TRANSITIONS["stock"])
    assert any(step.is_due(order) for order, _ in reachable().values())


def test_every_public_event_is_announced_and_no_other() -> None:
    for kind in MOVES:
        assert (ANNOUNCE in set_in_motion([kind])) == (kind in PUBLIC)


def test_announcing_is_due_until_the_last_public_event_is_announced() -> None:
    order, _ = reachable()["pending", "pending", "pending"]
    assert ANNOUNCE in due(order)
    assert ANNOUNCE not in due({**order, "announced": 1})
    authorized = advance(order, AT, "u", [Change("payment.authorized")])
    assert ANNOUNCE not in due({**authorized, "announced": 1})
    cancelled = advance(authorized, AT, "u", [Change("order.cancelled")])
    assert ANNOUNCE in due({**cancelled, "announced": 2})
