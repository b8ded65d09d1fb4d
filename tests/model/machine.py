"""Drives orders by every command of the contract amid crashes, rivals and bad messages; checks each step."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from tests.model.checks import Follower
from tests.model.commands import COMMANDS, PRODUCTS, Command, drafts
from tests.model.world import MESSAGES, Answer, Fault, World

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_ORDERS = 4
DONE = (200, 201, 202, 204)
REFUSED = (404, 409, 422)
# What differs between a dry run and the command: hashes, ids, the numbers made of them, and times.
OWN = re.compile(
    r"[0-9a-f]{64}|[0-9a-f]{24}|[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
)

faults = st.one_of(
    st.none(),
    st.builds(Fault, st.sampled_from(("before", "after", "meanwhile", "meanwhile")), st.integers(1, 6)),
)
# What happens to the messages of a sweep.
fates = st.sampled_from(("once", "once", "once", "twice", "lost", "one step"))


class OrderMachine(RuleBasedStateMachine):
    """Any number of orders of a few products, at a service of two processes."""

    world: ClassVar[World]
    orders: Bundle[str] = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.world.begin()
        self.follower = Follower(self.world)
        self.keys = 0
        self.erased = False
        # Commands that took effect, with their orders, keys and answers.
        self.done: list[tuple[str, Command, str, int]] = []

    @initialize(
        target=orders,
        levels=st.fixed_dictionaries({"fig": st.integers(0, 9), "kiwi": st.integers(3, 9)}),
        draft=drafts,
        worked=st.integers(0, 3),
    )
    def begin(self, levels: dict[str, int], draft: Any, worked: int) -> Any:
        """Stock, and the first order, mostly on its way already."""
        for product, level in levels.items():
            assert self.world.send("PUT", f"/stock/{product}", {"onHand": level}).status == 201
        placed = self._place(draft, None)
        if isinstance(placed, str) and worked:
            self.world.message(MESSAGES[0], [placed], runs_on=True)
        return placed

    @precondition(lambda self: len(self.follower.states) < MOST_ORDERS)
    @rule(target=orders, draft=drafts, fault=faults)
    def place(self, draft: Any, fault: Fault | None) -> Any:
        """A client places an order, and tries again if it gets no answer."""
        return self._place(draft, fault)

    @rule(order_id=orders, what=COMMANDS, fault=faults, other=COMMANDS)
    def command(self, order_id: str, what: Command, fault: Fault | None, other: Command) -> None:
        """A client sends a command; another one may come in between."""
        self._carry_out(order_id, what, fault, lambda: self._send(order_id, other))

    @rule(order_id=orders, what=COMMANDS, fault=faults, name=st.sampled_from(MESSAGES))
    def command_amid_work(self, order_id: str, what: Command, fault: Fault | None, name: str) -> None:
        """A client sends a command; a worker may come in between."""
        work = lambda: self.world.message(name, [order_id], runs_on=True)  # noqa: E731
        self._carry_out(order_id, what, fault, work)

    @rule(order_id=orders, what=COMMANDS)
    def rehearse(self, order_id: str, what: Command) -> None:
        """A dry run does nothing, and says what the command then does."""
        said = self._send(order_id, what, query="?dryRun=true")
        assert self.follower.look() == set()
        before = self.follower.version(order_id)
        answer = self._send(order_id, what)
        changed = self.follower.look()
        if answer.status in REFUSED:
            assert (said.status, _alike(said.body)) == (answer.status, _alike(answer.body))
            return
        assert said.status == 200, said
        if order_id in self.follower.deleted:
            assert said.body["events"][-1]["type"] == "order.deleted"
            return
        assert bool(said.body["events"]) == (order_id in changed)
        assert _alike(said.body["events"]) == _alike(self.follower.events[order_id][before:])
        if changed:
            assert _alike(said.body["order"]) == _alike(self.world.get(f"/orders/{order_id}"))
        else:
            assert (said.body["sets"], said.body["stock"], said.body["mails"]) == ([], [], [])

    @rule(
        order_ids=st.lists(orders, min_size=1, max_size=3, unique=True),
        name=st.sampled_from(MESSAGES),
        runs_on=st.booleans(),
        fault=faults,
        other=COMMANDS,
    )
    def message(
        self, order_ids: list[str], name: str, runs_on: bool, fault: Fault | None, other: Command
    ) -> None:
        """A message comes, in time, late, or for the second time."""
        work = lambda: self.world.message(name, order_ids, runs_on=runs_on)  # noqa: E731
        self.world.do(work, fault, lambda: self._send(order_ids[0], other))

    @rule(fate=fates, fault=faults, order_id=orders, other=COMMANDS)
    def work(self, fate: str, fault: Fault | None, order_id: str, other: Command) -> None:
        """Time passes, and the sweep sends what is overdue."""
        self.world.pass_deadlines()
        self.world.do(lambda: self._work(fate), fault, lambda: self._send(order_id, other))

    @rule(fault=faults, order_id=orders, other=COMMANDS)
    def expire(self, fault: Fault | None, order_id: str, other: Command) -> None:
        """What is not confirmed in time ends."""
        self.world.pass_expiry()
        self.world.do(self.world.tick, fault, lambda: self._send(order_id, other))

    @rule(product=st.sampled_from(PRODUCTS[:2]), quantity=st.integers(-3, 6).filter(bool), fault=faults)
    def adjust(self, product: str, quantity: int, fault: Fault | None) -> None:
        """Goods come, or break."""
        what = Command("POST", f"/stock/{product}/adjustments", {"quantity": quantity, "reason": "counted"})
        self.world.do(lambda: self._send("", what), fault, lambda: None)

    @rule(
        order_id=orders,
        kind=st.sampled_from(("payment.captured", "payment.refunded", "payment.voided")),
        fault=faults,
    )
    def bank_calls(self, order_id: str, kind: str, fault: Fault | None) -> None:
        """The bank reports what it did, whether or not it did so, and twice."""
        self.keys += 1
        for _ in range(2):
            assert self.world.report(order_id, kind, f"evt-{self.keys}") < 300
        self.world.do(self.world.tick, fault, lambda: None)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """A client repeats a command with its key: nothing changes."""
        if self.done:
            order_id, what, key, status = data.draw(st.sampled_from(self.done))
            answer = self._send(order_id, what, key)
            # The answer of a note that is erased since is gone with it.
            gone = order_id in self.follower.deleted or what.path.endswith("/notes")
            assert answer.status == status or (gone and answer.status in REFUSED), answer
            assert self.follower.look() == set()

    @rule(order_id=orders, data=st.data())
    def look_back(self, order_id: str, data: st.DataObject) -> None:
        """A past version is what the events up to it made of the order."""
        if order_id not in self.follower.deleted:
            versions = st.integers(1, self.follower.version(order_id))
            self.follower.check_version(order_id, data.draw(versions))

    @precondition(lambda self: not self.erased)
    @rule(fault=faults)
    def erase(self, fault: Fault | None) -> None:
        """The customer is forgotten, and nothing else."""
        self.world.do(lambda: self.world.erase("ann"), fault, lambda: None)
        self.world.erase("ann")
        self.erased = True
        self.done.clear()
        self.follower.check_erased()

    @invariant()
    def everything_holds(self) -> None:
        """What must hold at any time holds."""
        self.world.wait(timedelta(milliseconds=1))
        self.follower.look()

    def teardown(self) -> None:
        """Everything comes to rest. Then nothing owed is forgotten."""
        if sys.exc_info()[0]:
            return
        self._rest()
        self.world.pass_expiry()
        self._rest()
        self.follower.look()
        self.follower.check_rest()
        self.world.wait(timedelta(minutes=5))
        self._work("once")
        assert self.follower.look() == set()
        self.follower.check_books(self.world.reconcile())

    def _rest(self) -> None:
        for _ in range(12):
            # This may end orders, which then owe something.
            self.world.tick()
            self.world.pass_deadlines()
            if not self._work("once"):
                return

    def _work(self, fate: str) -> bool:
        messages = self.world.tick()
        for name, order_ids in messages.items():
            for _ in range({"lost": 0, "twice": 2}.get(fate, 1)):
                self.world.message(name, order_ids, runs_on=fate != "one step")
        return bool(messages)

    def _place(self, draft: Any, fault: Fault | None) -> Any:
        what, key = Command("POST", "/orders", draft), self._key()
        first = self.world.do(lambda: self._send("", what, key), fault, lambda: self._send("", what, key))
        answer = first or self._send("", what, key)
        if answer.status != 201:
            return multiple()
        self.done.append(("", what, key, 201))
        return answer.body["order"]["id"]

    def _carry_out(
        self, order_id: str, what: Command, fault: Fault | None, rival: Callable[[], object]
    ) -> None:
        key = self._key() if what.takes_key else None
        answer = self.world.do(lambda: self._send(order_id, what, key), fault, rival)
        if answer is None and key:
            answer = self._send(order_id, what, key)
        if fault is None:
            changed = self.follower.look()
            assert not changed or answer.status in DONE
            assert changed <= {order_id}
            if key and changed:
                self.done.append((order_id, what, key, answer.status))

    def _send(self, order_id: str, what: Command, key: str | None = None, query: str = "") -> Answer:
        path = what.path.format(id=order_id)
        answer = self.world.send(what.method, path + query, what.body, key=key)
        assert answer.status in DONE + REFUSED, (what, answer)
        assert answer.status == 404 or order_id not in self.follower.deleted, (what, answer)
        return answer

    def _key(self) -> str:
        self.keys += 1
        return f"key-{self.keys}"


def _alike(shown: Any) -> str:
    """What was shown, without what differs between a dry run and the command."""
    shown = {**shown, "requestId": "", "instance": ""} if isinstance(shown, dict) else shown
    return OWN.sub("…", str(shown))
