"""What an order waits for, for each row of the table, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.clock import id_at
from app.diagnosis.model import Limits, damaged, diagnose
from app.orders.model import Change, Order, advance, create

AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DEADLINE, EXPIRY = 15 * SECOND, timedelta(minutes=15)
TOTAL = 1000

AUTHORIZED = Change("payment.authorized", {"reference": "r"})
DECREMENTED = Change("stock.decremented")
CAPTURED = Change("payment.captured", {"capturedAmount": TOTAL})
CONFIRMED = (AUTHORIZED, DECREMENTED, CAPTURED, Change("order.confirmed"))
SHIPPED = (*CONFIRMED, Change("order.shipped"))
DELIVERED = (*SHIPPED, Change("order.delivered"))
CANCELLED = Change("order.cancelled", {"cancellation": {"reason": "requested"}})
ACTION = Change("payment.action_required", {"reference": "r", "action": {"type": "redirect"}})


def requested(number: int, amount: int) -> Change:
    return Change("refund.requested", {"refundId": f"r-{number}", "amount": amount})


def failed(number: int) -> Change:
    return Change("refund.failed", {"refundId": f"r-{number}", "failure": {"code": "c", "message": "m"}})


def succeeded(number: int, total: int) -> tuple[Change, Change]:
    kind = "payment.refunded" if total == TOTAL else "payment.partially_refunded"
    return Change("refund.succeeded", {"refundId": f"r-{number}"}), Change(kind, {"refundedAmount": total})


def order(*changes: Change, **work: Any) -> Order:
    """An order that went this way, a second for each change. All of it is announced."""
    products = [{"productId": "p", "quantity": 1}]
    data = {"userId": "u", "products": products, "totalAmount": TOTAL, "currency": "USD"}
    made = create(id_at(AT), AT, "u", data, None)
    for number, change in enumerate(changes, 1):
        made = advance(made, AT + number * SECOND, "system", [change])
    due: dict[str, Any] = {"announced": made["version"], "dueBy": made["updatedAt"] + DEADLINE, **work}
    return {**made, **due}  # type: ignore[typeddict-item]


def diagnosis(found: Order, after: timedelta = SECOND) -> dict[str, Any]:
    """The diagnosis so long after the last change."""
    return {**diagnose(found, Limits(found["updatedAt"] + after, DEADLINE, EXPIRY))}


def verdict(found: Order, after: timedelta = SECOND) -> tuple[str, str, str | None]:
    shown = diagnosis(found, after)
    return shown["state"], shown["waitingFor"], shown.get("step")


def hold(code: str, *blocks: str) -> Change:
    return Change("hold.placed", {"code": code, "blocks": list(blocks), "then": "release"})


RELEASED = Change("hold.released", {"code": "a"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((hold("a", "capture"),), ("working", "worker", "authorize")),
        ((AUTHORIZED, hold("a", "capture"), DECREMENTED), ("blocked", "shop", "capture")),
        ((AUTHORIZED, hold("a", "ship"), DECREMENTED), ("working", "worker", "capture")),
        ((AUTHORIZED, hold("a", "capture"), DECREMENTED, RELEASED), ("working", "worker", "capture")),
        ((*CONFIRMED, hold("a", "ship")), ("blocked", "shop", "ship")),
        ((*CONFIRMED, hold("a", "capture")), ("waiting", "shop", "ship")),
        ((*CONFIRMED, hold("a", "ship"), requested(1, 10), failed(1)), ("stuck", "shop", "refund")),
        ((*CONFIRMED, hold("a", "ship"), CANCELLED, requested(1, TOTAL)), ("working", "worker", "refund")),
    ],
)
def test_a_hold_blocks_the_step_that_it_is_for(changes: Any, expected: Any) -> None:
    assert verdict(order(*changes)) == expected


def test_a_held_order_does_not_expire_and_has_its_whole_time_after_the_release() -> None:
    held = (hold("a", "capture"), AUTHORIZED, DECREMENTED)
    shown = diagnosis(order(*held))
    assert (shown["since"], "otherwise" in shown) == (AT + 3 * SECOND, False)
    assert diagnosis(order(*held), timedelta(days=1))["state"] == "blocked"
    released = diagnosis(order(*held, RELEASED))
    assert released["since"] == AT + 4 * SECOND
    assert released["otherwise"] == {"what": "order.cancelled", "at": AT + 4 * SECOND + EXPIRY}


def error(code: str, step: str = "payments.authorize") -> dict[str, Any]:
    """The due work after an attempt that failed just now."""
    at = AT + SECOND
    return {"attempts": 1, "lastError": {"step": step, "code": code, "at": at}, "dueBy": at + 2 * SECOND}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((), ("working", "worker", "authorize")),
        ((AUTHORIZED,), ("working", "worker", "decrement")),
        ((AUTHORIZED, DECREMENTED), ("working", "worker", "capture")),
        (CONFIRMED, ("waiting", "shop", "ship")),
        (SHIPPED, ("waiting", "shop", "deliver")),
        (DELIVERED, ("done", "nobody", None)),
        ((ACTION,), ("waiting", "customer", "authorize")),
        ((CANCELLED,), ("working", "worker", "void")),
        ((CANCELLED, Change("payment.voided")), ("done", "nobody", None)),
        ((AUTHORIZED, DECREMENTED, CANCELLED, Change("payment.voided")), ("working", "worker", "restock")),
        ((*CONFIRMED, CANCELLED, requested(1, TOTAL)), ("working", "worker", "refund")),
        ((*CONFIRMED, CANCELLED, requested(1, TOTAL), failed(1)), ("stuck", "shop", "refund")),
        ((*CONFIRMED, requested(1, 10)), ("waiting", "shop", "ship")),
        ((*CONFIRMED, requested(1, 10), failed(1)), ("stuck", "shop", "refund")),
        ((*DELIVERED, requested(1, 10), failed(1)), ("stuck", "shop", "refund")),
        (
            (*DELIVERED, requested(1, 50), *succeeded(1, 50), requested(2, 30), failed(2)),
            ("stuck", "shop", "refund"),
        ),
        (
            (*DELIVERED, requested(1, 30), failed(1), requested(2, 30), *succeeded(2, 30)),
            ("done", "nobody", None),
        ),
        (
            (*DELIVERED, requested(1, 30), failed(1), requested(2, TOTAL), *succeeded(2, TOTAL)),
            ("done", "nobody", None),
        ),
    ],
)
def test_the_state_of_an_order_says_what_it_waits_for(changes: Any, expected: Any) -> None:
    assert verdict(order(*changes)) == expected


UNANNOUNCED = error("database_refused", "notifications.announce")


@pytest.mark.parametrize(
    ("changes", "work", "expected"),
    [
        ((), error("provider_unavailable"), ("waiting", "provider", "authorize")),
        ((CANCELLED,), error("provider_unavailable", "payments.void"), ("waiting", "provider", "void")),
        (
            (*CONFIRMED, requested(1, 10)),
            error("provider_unavailable", "payments.refund"),
            ("waiting", "provider", "refund"),
        ),
        ((AUTHORIZED,), error("stock_busy", "stock.decrement"), ("working", "worker", "decrement")),
        ((AUTHORIZED,), error("stock_mismatch", "stock.decrement"), ("stuck", "worker", "decrement")),
        ((), error("internal_error"), ("stuck", "worker", "authorize")),
        ((), error("database_refused", "stock.decrement"), ("stuck", "worker", "authorize")),
        ((), error("order_damaged", "maintenance.sweep"), ("stuck", "worker", "authorize")),
        (DELIVERED, {"announced": 1, **UNANNOUNCED}, ("stuck", "worker", None)),
        ((ACTION,), {"attempts": 3, "dueBy": AT}, ("waiting", "customer", "authorize")),
    ],
)
def test_the_last_error_says_what_an_order_waits_for(changes: Any, work: Any, expected: Any) -> None:
    found = order(*changes, **work)
    assert verdict(found) == expected


def test_a_step_that_nobody_tried_in_time_is_stuck_and_not_a_millisecond_before() -> None:
    tick = timedelta(milliseconds=1)
    assert verdict(order(), DEADLINE - tick) == ("working", "worker", "authorize")
    assert verdict(order(), DEADLINE) == ("stuck", "worker", "authorize")


def test_a_step_that_was_only_sent_again_stays_stuck() -> None:
    sent_again = order(attempts=0, dueBy=AT + 2 * DEADLINE)
    assert verdict(sent_again, DEADLINE + SECOND) == ("stuck", "worker", "authorize")


def test_a_retry_has_the_deadline_from_its_planned_time_on() -> None:
    waiting = order(**error("provider_unavailable"))
    planned = waiting["dueBy"] - waiting["updatedAt"]
    assert verdict(waiting, planned + DEADLINE - SECOND) == ("waiting", "provider", "authorize")
    assert verdict(waiting, planned + DEADLINE) == ("stuck", "worker", "authorize")


def test_a_step_without_a_deadline_is_stuck_since_nobody_finds_it() -> None:
    found = order()
    del found["dueBy"]
    assert verdict(found) == ("stuck", "worker", "authorize")


def test_announcing_shows_only_when_it_is_overdue_and_nothing_else_is_owed() -> None:
    late = order(*DELIVERED, announced=1)
    assert verdict(late) == ("done", "nobody", None)
    assert verdict(late, DEADLINE) == ("stuck", "worker", None)
    assert verdict(order(*CONFIRMED, announced=1), DEADLINE) == ("waiting", "shop", "ship")


def test_a_diagnosis_has_the_times_of_the_step() -> None:
    found = order(**error("provider_unavailable"))
    assert diagnosis(found) == {
        "state": "waiting",
        "waitingFor": "provider",
        "step": "authorize",
        "since": AT,
        "dueBy": AT + 3 * SECOND,
        "attempts": 1,
        "lastError": {"code": "provider_unavailable", "at": AT + SECOND},
        "next": {"what": "authorize", "at": AT + 3 * SECOND},
        "otherwise": {"what": "order.cancelled", "at": AT + EXPIRY},
    }


def test_an_order_waits_since_the_event_that_began_the_step_and_not_since_its_last_change() -> None:
    refunded = (*CONFIRMED, requested(1, 10), *succeeded(1, 10))
    shown = diagnosis(order(*refunded))
    assert (shown["step"], shown["since"]) == ("ship", AT + 4 * SECOND)
    assert "otherwise" not in shown
    assert diagnosis(order(ACTION))["since"] == AT + SECOND


def test_a_failed_refund_is_the_last_error() -> None:
    shown = diagnosis(order(*CONFIRMED, requested(1, 10), failed(1)))
    assert shown["lastError"] == {"code": "refund_failed", "at": AT + 6 * SECOND}


def test_a_damaged_order_is_stuck_with_whatever_can_be_read_of_it() -> None:
    now = AT + SECOND
    stuck = {"state": "stuck", "waitingFor": "worker"}
    unread = {"code": "order_damaged", "at": now}
    assert damaged({}, now) == {**stuck, "lastError": unread}
    assert damaged({"dueBy": "x", "lastError": 7}, now) == {**stuck, "lastError": unread}
    known = {"dueBy": AT, "lastError": {"step": "s", "code": "internal_error", "at": AT}}
    assert damaged(known, now) == {**stuck, "dueBy": AT, "lastError": {"code": "order_damaged", "at": AT}}
