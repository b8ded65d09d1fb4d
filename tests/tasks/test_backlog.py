"""The relay's backlog: the checkpoint reaches a change only when everything up to it is published."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.orders.changes_store import Changed
from app.orders.events import EVENTS
from app.orders.steps import STEPS, to_send
from tasks.backlog import BATCH, MOST_WAITING, Backlog

NAMES = sorted(step.name for step in STEPS)
# The events of a change that sets two steps in motion, in two queues.
BOTH = ["refund.requested", "order.confirmed"]
ORDERS = [f"{number:024x}" for number in range(6)]

moves = st.one_of(
    st.lists(
        st.tuples(st.sampled_from(ORDERS), st.lists(st.sampled_from(sorted(EVENTS)), min_size=1, max_size=2)),
        max_size=4,
    ),
    st.sets(st.sampled_from(NAMES)),
    st.just("advance"),
)


class Account:
    """The ids that a backlog got, and those of them that it has not sent yet."""

    def __init__(self) -> None:
        self.token = 0
        self.owed: dict[tuple[str, str], int] = {}

    def changes(self, drawn: list[tuple[str, list[str]]]) -> list[Changed]:
        """The changes as the stream gives them; each is owed from its token on, or from an earlier one."""
        made = []
        for order_id, kinds in drawn:
            self.token += 1
            made.append(Changed(order_id, kinds, self.token))
            for name in to_send(kinds):
                self.owed.setdefault((name, order_id), self.token)
        return made

    def sent(self, name: str, ids: list[str]) -> None:
        """Crosses out; no message names an order twice."""
        assert len(ids) == len(set(ids)) > 0
        for order_id in ids:
            self.owed.pop((name, order_id), None)


@given(st.lists(moves, max_size=30))
def test_the_checkpoint_moves_only_when_all_that_was_owed_up_to_it_is_sent(
    steps: list[Any],
) -> None:
    account, backlog = Account(), Backlog(0)
    for step in steps:
        if step == "advance":
            before = backlog.checkpoint
            backlog.advance()
            assert before <= backlog.checkpoint <= account.token
        elif isinstance(step, set):
            backlog.publish(step.__contains__, account.sent)
        else:
            backlog.add(account.changes(step))
        assert all(token > backlog.checkpoint for token in account.owed.values())
    while backlog:
        backlog.publish(lambda _: True, account.sent)
    backlog.advance()
    assert account.owed == {}
    assert backlog.checkpoint == account.token


def test_a_busy_queue_gathers_larger_messages_and_holds_up_no_other() -> None:
    backlog, sent = Backlog(0), []
    for token, order_id in enumerate(ORDERS, start=1):
        backlog.add([Changed(order_id, BOTH, token)])
        backlog.publish(lambda name: name.startswith("notifications"), lambda *message: sent.append(message))
    assert sent == [("notifications.announce", [order_id]) for order_id in ORDERS]
    backlog.publish(lambda _: True, lambda *message: sent.append(message))
    assert sent[-1] == ("payments.refund", ORDERS)
    assert not backlog


def test_no_message_holds_more_than_a_batch() -> None:
    backlog, sizes = Backlog(0), []
    backlog.add(Changed(f"{n:024x}", ["refund.requested"], n) for n in range(BATCH * 2 + 1))
    while backlog:
        backlog.publish(lambda _: True, lambda _, ids: sizes.append(len(ids)))
    assert sizes == [BATCH, BATCH, 1]


def test_messages_that_could_not_be_sent_stay_and_hold_the_checkpoint() -> None:
    backlog, sent = Backlog(0), []
    backlog.add([Changed(ORDERS[0], BOTH, 1)])

    def fail(*_: Any) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        backlog.publish(lambda _: True, fail)
    backlog.advance()
    assert backlog.checkpoint == 0
    while backlog:
        backlog.publish(lambda _: True, lambda name, ids: sent.append((name, ids)))
    assert sorted(name for name, _ in sent) == ["notifications.announce", "payments.refund"]


def test_an_endless_flow_of_changes_does_not_stop_the_checkpoint() -> None:
    backlog = Backlog(0)
    for token in range(1, 200):
        backlog.add([Changed(f"{token:024x}", ["refund.requested"], token)])
        if token % 10 == 0:
            backlog.publish(lambda _: True, lambda *_: None)
            backlog.add([Changed(f"{token:024x}", ["stock.decremented"], token)])
            backlog.advance()
    assert backlog.checkpoint > 150


def test_changes_that_set_nothing_in_motion_move_the_checkpoint_too() -> None:
    backlog = Backlog(0)
    backlog.add([Changed(ORDERS[0], ["payment.voided"], 1)])
    assert not backlog
    backlog.advance()
    assert backlog.checkpoint == 1


def test_a_queue_without_workers_does_not_fill_the_memory() -> None:
    backlog, sent = Backlog(0), []
    ids = [f"{number:024x}" for number in range(MOST_WAITING + 10)]
    backlog.add(Changed(order_id, ["refund.requested"], token) for token, order_id in enumerate(ids, 1))
    while backlog:
        backlog.publish(lambda _: True, lambda _, batch: sent.extend(batch))
    assert sent == ids[:MOST_WAITING]


def test_a_change_that_a_worker_carries_on_is_no_work_for_others_and_moves_the_checkpoint() -> None:
    backlog = Backlog(0)
    backlog.add([Changed(ORDERS[0], [*BOTH, "order.created"], 1, carried=True)])
    assert not backlog
    backlog.advance()
    assert backlog.checkpoint == 1


def test_a_new_order_is_announced_by_the_worker_that_authorizes_it() -> None:
    backlog, sent = Backlog(0), []
    backlog.add([Changed(ORDERS[0], ["order.created"], 1)])
    backlog.publish(lambda _: True, lambda *message: sent.append(message))
    assert sent == [("payments.authorize", [ORDERS[0]])]
