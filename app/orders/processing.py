"""Runs the background steps of orders: load, check that the step is still due, do it, compare-and-set.

A step that is already done does nothing. So a message may be lost, doubled, late or out of order, and a
process may die between any two lines: running the step again repairs it. Calls to the outside world carry an
idempotency key made of order and step. Stock changes in the same transaction as its order.

A worker runs on with the steps that its own writes set in motion, with the orders as it has them in memory.
It marks such a write as carried, so that the relay sends nothing for it, but only if it does all of these
steps itself. What any other process sets in motion comes as a message. If the worker dies, the sweep finds
its orders.

Only what must be durable before the next effect is written in between. An authorization is found again by
its key, so it stays in memory and is written with the stock. A new order is announced before its payment, so
that a slow provider delays no mail; the next write of the order records how far it is announced.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import monotonic

import structlog

from app.apart import apart
from app.orders import OrderServices
from app.orders.model import Order
from app.orders.saving import set_aside, write_kept
from app.orders.steps import ANNOUNCE, FIRST, STEPS, Step, set_in_motion

log = structlog.get_logger()

# A batch is retried at once for orders that another process changed, this many times and for this many
# seconds. The sweep does the rest.
_ROUNDS = 8
_LONGEST = 1.0

# Publishes tasks: ids by the name of the task.
Send = Callable[[Mapping[str, Sequence[str]]], object]


def perform(
    services: OrderServices,
    step: Step,
    order_ids: Sequence[str],
    own: Sequence[Step] = (),
    send: Send = lambda _: None,
) -> None:
    """Does the step for those of the orders for which it is due, and goes on with the steps in `own`.

    If the step fails unexpectedly for one order, that order is logged and retried later, and the others
    continue. Raises DatabaseUnavailable.
    """
    run = _Run(services, own, send)
    left: Mapping[Step, Sequence[str]] = {step: order_ids}
    until = monotonic() + _LONGEST
    for _ in range(_ROUNDS):
        for stopped_at, ids in left.items():
            run.begin(stopped_at, ids)
        left = run.take_lost()
        if not left:
            return
        if monotonic() > until:
            break
    for stopped_at, ids in left.items():
        log.warning("step left to the sweep", step=stopped_at.name, order_ids=ids)


class _Run:
    """Takes orders through the steps in `own`, as far as they go."""

    def __init__(self, services: OrderServices, own: Sequence[Step], send: Send) -> None:
        self._services = services
        self._own = frozenset(own)
        self._send = send
        # The names of the steps that are this worker's to do, by order id.
        self._owed: dict[str, set[str]] = {}
        self._lost: dict[Step, list[str]] = defaultdict(list)

    def begin(self, step: Step, order_ids: Sequence[str]) -> None:
        """Loads the orders and does the step for those for which it is due."""
        orders: Sequence[Order] = self._services.store.load(order_ids)
        # The relay sends no message for the announcement of a new order, which must not wait for the payment.
        along = {ANNOUNCE.name} if step in FIRST and self._own else set[str]()
        self._owed |= {order["id"]: set(along) for order in orders}
        orders = self._announced(orders)
        due = apart(orders, lambda some: filter(step.is_due, some), partial(self._set_aside, step))
        begun = {order["id"] for order in due}
        self._mark(order for order in orders if order["id"] not in begun)
        self._do(step, step, due)

    def take_lost(self) -> dict[Step, list[str]]:
        """The ids of the orders that another process changed first, by the step to begin again with."""
        lost, self._lost = self._lost, defaultdict(list)
        return {step: list(dict.fromkeys(ids)) for step, ids in lost.items()}

    def _do(self, begun: Step, step: Step, due: Sequence[Order]) -> None:
        """Does the step, and goes on. What was done since `begun` is not written yet."""
        later = tuple(after for after in STEPS[STEPS.index(step) + 1 :] if after in self._own)

        def work(orders: Sequence[Order]) -> list[Order]:
            before = {order["id"]: order for order in orders}
            left = dict(before)
            with self._services.tracer.orders(step.name, orders):
                for saved in self._services.effects[step](list(orders), later):
                    if saved.lost:
                        self._lost[begun] += saved.lost
                    if saved.messages:
                        self._send(saved.messages)
                    for order in saved.orders:
                        left.pop(order["id"], None)
                    self._go_on(begun, later, [(before[order["id"]], order) for order in saved.orders])
            return list(left.values())

        self._mark(apart(due, work, partial(self._set_aside, step)))

    def _go_on(self, begun: Step, later: Sequence[Step], done: Iterable[tuple[Order, Order]]) -> None:
        """Goes on with the orders, given as they were before the step and as they are now."""
        following: dict[Step | None, list[Order]] = defaultdict(list)
        for before, now in done:
            following[self._next(later, before, now)].append(now)
        self._mark(following[None])
        for step in later:
            if orders := following[step]:
                # Announcing does not wait for what comes first.
                due = orders if step is ANNOUNCE else self._announced(orders)
                self._do(begun if step.joins else step, step, due)

    def _next(self, later: Sequence[Step], before: Order, now: Order) -> Step | None:
        """The next step that is this worker's to do; None if it has nothing left to do."""
        new = set_in_motion(event["type"] for event in now["events"] if event["sequence"] > before["version"])
        if new and "storedVersion" not in now and now.get("carried") != now["version"]:
            return None
        owed = self._owed[now["id"]]
        owed |= new
        return next((step for step in later if step.name in owed and step.is_due(now)), None)

    def _announced(self, orders: Sequence[Order]) -> list[Order]:
        """The orders, after the announcements that are this worker's to make.

        The next write of each order records them. If no write follows, `_mark` does.
        """
        give_up, done = partial(self._set_aside, ANNOUNCE), dict[str, Order]()

        def with_news(some: Sequence[Order]) -> list[Order]:
            return [
                order
                for order in some
                if ANNOUNCE.name in self._owed[order["id"]]
                and "storedVersion" not in order
                and ANNOUNCE.is_due(order)
            ]

        def work(some: Sequence[Order]) -> list[Order]:
            with self._services.tracer.orders(ANNOUNCE.name, some):
                for saved in self._services.effects[ANNOUNCE](list(some), ()):
                    self._send(saved.messages)
                    done.update((order["id"], order) for order in saved.orders)
            return []

        news = apart(orders, with_news, give_up)
        if ANNOUNCE in self._own:
            apart(news, work, give_up)
        elif news:
            self._send({ANNOUNCE.name: [order["id"] for order in news]})
        return [done.get(order["id"], order) for order in orders]

    def _mark(self, orders: Iterable[Order]) -> None:
        """Records the announcements that no write has recorded."""
        if unmarked := [order for order in orders if "unmarked" in order]:
            self._services.due_work.mark_announced(unmarked)

    def _set_aside(self, step: Step, order: Order, error: Exception) -> None:
        # The database may refuse the order itself. Then its payment is found again at the provider.
        apart([order], partial(write_kept, self._services), lambda *_: None)
        set_aside(self._services, step.name, order, error)
        self._mark([order])
