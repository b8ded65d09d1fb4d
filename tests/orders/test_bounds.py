"""The log of an order is bounded, and within its bounds an order can always be brought to its end."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.errors import HistoryFull
from app.orders.bounds import LIMITS, MOST_EVENTS, owed
from app.orders.model import Change, Order, advance
from app.payments.align import _REMEDIES
from app.payments.model import ProviderPayment
from tests.orders.test_step_table import CLIENTS, HOLDS_END, WAITING_ENDS, State, reachable

AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
LEAVING_AN_END = [name for name, limit in LIMITS.items() if limit.leaves_an_end]
OTHERS = [name for name, limit in LIMITS.items() if not limit.leaves_an_end]
# The commands behind the writes of clients.
COMMANDS = {
    "order.cancelled": "cancel",
    "order.shipped": "ship",
    "order.delivered": "deliver",
    "refund.requested": "refund",
    "refund.retried": "retry",
    "cancellation.created": "create_cancellation",
    "return.requested": "create_return",
    "hold.placed": "hold",
    "hold.released": "release",
}
DELETED = Change("order.deleted", {"deletedAt": AT})
NOTHING = Change("order.shipped")


def grown(order: Order, version: int) -> Order:
    """The order with a log of so many events; as in a service, only the last of them is at hand."""
    last = {**order["events"][-1], "sequence": version}
    return {**order, "version": version, "events": [last]}  # type: ignore[typeddict-item, list-item]


def in_state(status: str, payment: str, stock: str, *refunds: tuple[str, bool]) -> Order:
    state: State = (status, payment, stock, refunds, False, (), (), "paid first")
    return reachable()[state][0]


def confirmed() -> Order:
    return in_state("confirmed", "captured", "decremented")


def is_taken(order: Order, command: str, *changes: Change) -> bool:
    try:
        advance(order, AT, "u", changes or [NOTHING], command)
    except HistoryFull:
        return False
    return True


def test_every_event_of_the_services_own_was_counted_before_it_came() -> None:
    for now, (order, writes) in reachable().items():
        for write, by_step, after in writes:
            if now[2] == "backordered" and write == ("stock.backordered",):
                # This has a limit of its own, and is left out beyond it.
                continue
            is_expiry = write[0] == "order.cancelled" and order["status"] == "pending"
            if by_step or is_expiry or write in (*HOLDS_END, *WAITING_ENDS):
                assert len(write) + owed(after) <= owed(order), (now, write)


@pytest.mark.parametrize(
    "remedy", [one for one in _REMEDIES if one.command is None], ids=lambda one: one.name
)
def test_events_that_follow_from_the_provider_are_counted_too(remedy: Any) -> None:
    """But for the last refund that anybody can make there."""
    tried = 0
    for order, _ in reachable().values():
        if order["status"] not in remedy.status or order["payment"]["status"] not in remedy.payment:
            continue
        total = order["totalAmount"]
        there = ProviderPayment(order["id"], "r", "refunded", total, "USD", total, total, AT)
        if changes := remedy.changes(order, there):
            after, tried = advance(order, AT, "provider", changes), tried + 1
            more = len(changes) + owed(after) - owed(order)
            is_last = remedy.name == "refunded outside"
            assert more <= (3 if is_last else 0)
            assert not is_last or after["payment"]["status"] == "refunded"
    assert tried or remedy.name == "authorized"


def test_whatever_a_command_sets_in_motion_ends_below_the_bound() -> None:
    """With the last refund that somebody makes at the provider on top."""
    highest = max(limit.events for limit in LIMITS.values())
    tried = set()
    for order, writes in reachable().values():
        for write, _, after in [(write, by, after) for write, by, after in writes if write in CLIENTS]:
            command = COMMANDS[write[0]]
            for version in (highest - 1 - owed(order), highest):
                changes = [Change(e["type"], e["data"]) for e in after["events"][order["version"] :]]
                if is_taken(grown(order, version), command, *changes):
                    tried.add(command)
                    assert version + len(write) + owed(after) + len([DELETED]) + 3 <= MOST_EVENTS
    assert tried >= {"cancel", "ship", "deliver", "release"}


@pytest.mark.parametrize("command", OTHERS)
def test_a_command_is_taken_below_its_limit_and_not_from_it_on(command: str) -> None:
    limit = LIMITS[command].events
    assert is_taken(grown(confirmed(), limit - 1), command)
    assert not is_taken(grown(confirmed(), limit), command)
    with pytest.raises(HistoryFull, match=f"The order has {limit} events"):
        advance(grown(confirmed(), limit), AT, "u", [NOTHING], command)


def test_the_events_that_the_order_owes_count_as_written() -> None:
    order = in_state("confirmed", "captured", "decremented", ("pending", False), ("pending", False))
    assert owed(order) == 6
    assert is_taken(grown(order, 973), "ship")
    assert not is_taken(grown(order, 974), "ship")


def test_the_services_own_events_are_always_accepted() -> None:
    advance(grown(confirmed(), MOST_EVENTS - 1), AT, "system", [NOTHING])


@pytest.mark.parametrize("command", LEAVING_AN_END)
def test_refunds_leave_room_to_cancel_refund_once_more_and_delete(command: str) -> None:
    """From the highest version at which one is taken."""
    half = {"refundId": "x-1", "amount": 1}
    asked = Change("refund.requested", half)
    last = next(n for n in range(MOST_EVENTS, 0, -1) if is_taken(grown(confirmed(), n), command, asked))
    assert last == 967
    order = advance(grown(confirmed(), last), AT, "u", [asked], command)
    paid = Change("payment.partially_refunded", {"refundedAmount": 1})
    order = advance(order, AT, "system", [Change("refund.succeeded", {"refundId": "x-1"}), paid])
    rest = {"refundId": "x-2", "amount": 1}
    changes = [Change("order.cancelled"), Change("refund.requested", rest)]
    order = advance(order, AT, "u", changes, "cancel")
    failed = Change("refund.failed", {"refundId": "x-2"})
    order = advance(order, AT, "system", [Change("stock.restocked"), failed])
    order = advance(order, AT, "u", [Change("refund.retried", {"refundId": "x-2"})], "retry")
    whole = Change("payment.refunded", {"refundedAmount": 2})
    order = advance(order, AT, "system", [Change("refund.succeeded", {"refundId": "x-2"}), whole])
    order = advance(order, AT, "u", [DELETED], "delete")
    assert order["version"] < LIMITS["delete"].events
