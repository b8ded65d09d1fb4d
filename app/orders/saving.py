"""Writes the outcome of a step by compare-and-set, and makes a failed step due again later."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

import structlog

from app.backoff import backoff
from app.mongo.database import Transaction
from app.mongo.outages import is_from_the_driver
from app.observability.tracing import about
from app.orders import OrderServices
from app.orders.model import Change, Order, advance
from app.orders.step_errors import StepError, code_of
from app.orders.steps import Step, set_in_motion, started

log = structlog.get_logger()

ACTOR = "system"

# The first and the longest wait, in seconds, of a step whose stock another transaction has locked. The lock
# of a dead process lasts until MongoDB ends its transaction.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0


class Saved(NamedTuple):
    """The orders after their changes, and the ids of those that another process changed first or has locked.

    `messages` are further tasks to send: ids by the name of the task.
    """

    orders: Sequence[Order] = ()
    lost: Sequence[str] = ()
    messages: Mapping[str, Sequence[str]] = MappingProxyType({})


# Does a step for orders for which it is due, and yields its outcomes in groups, as soon as they are known.
# The second argument has the later steps with which the caller goes on.
Effect = Callable[[list[Order], Sequence[Step]], Iterable[Saved]]


def save(
    services: OrderServices,
    changes: Mapping[str, Sequence[Change]],
    orders: Mapping[str, Order],
    onward: Sequence[Step] = (),
    transaction: Transaction | None = None,
    actor: str = ACTOR,
    command: str | None = None,
) -> Saved:
    """Writes the changes, which are given by order id.

    If the caller goes on with all steps that a change sets in motion, the relay leaves them to it. If one of
    these joins the write, the change is kept in memory until then. `command` is as in `advance`. Raises
    HistoryFull.
    """
    at, names = services.clock(), {step.name for step in onward}
    joining = {step.name for step in onward if step.joins}
    pairs: list[tuple[Order, Order]] = []
    kept: list[Order] = []
    for order_id, made in changes.items():
        before = orders[order_id]
        after = advance(before, at, actor, made, command)
        after["attempts"] = 0
        kinds = [change.type for change in made]
        follows = started(kinds, after)
        if follows & joining:
            after["storedVersion"] = before.get("storedVersion", before["version"])
            kept.append(after)
            continue
        if follows <= names and set_in_motion(kinds):
            after["carried"] = after["version"]
        pairs.append((before, after))
    lost = services.store.append_all(pairs, services.due_by(), transaction) if pairs else []
    missed = set(lost)
    return Saved([*kept, *(_stored(after) for _, after in pairs if after["id"] not in missed)], lost)


def _stored(order: Order) -> Order:
    order.pop("storedVersion", None)
    order.pop("unmarked", None)
    return order


def try_later(services: OrderServices, step: str, orders: Sequence[Order], code: str | None) -> None:
    """Makes the step of these orders due again, after a wait that grows with every attempt.

    `code` is the reason, one of `step_errors.CODES`; None if nothing failed.
    """
    if orders:
        now = services.clock()
        due = {order["id"]: now + backoff(_attempts(order)) for order in orders}
        services.due_work.postpone(due, _counted(services, step, orders, code, now))


def wait_for_stock(services: OrderServices, step: str, orders: Sequence[Order]) -> None:
    """Makes the step due again soon, for orders whose stock is locked by another transaction."""
    if orders:
        write_kept(services, orders, amid_locks=True)
        log.info("stock is busy, step waits", step=step, order_ids=[order["id"] for order in orders])
        now, bounds = services.clock(), {"base": _FIRST_WAIT, "longest": _LONGEST_WAIT}
        due = {order["id"]: now + backoff(_attempts(order), **bounds) for order in orders}
        services.due_work.postpone(due, _counted(services, step, orders, "stock_busy", now), amid_locks=True)


def write_kept(services: OrderServices, orders: Sequence[Order], *, amid_locks: bool = False) -> list[str]:
    """Writes the changes that are in memory alone, and returns the ids of the orders that were not written.

    These are as in `Saved`.
    """
    pairs = [(order, order) for order in orders if "storedVersion" in order]
    return services.store.append_all(pairs, services.due_by(), amid_locks=amid_locks) if pairs else []


def set_aside(services: OrderServices, step: str, order: Order, error: Exception) -> None:
    """Logs the error of an order's step, and makes the step due again after a wait that grows each time.

    Works for an order in any state, even a damaged one.
    """
    log.error("step failed", step=step, exc_info=error, **about(order))
    code = "database_refused" if is_from_the_driver(error) else code_of(error)
    try_later(services, step, [order], code)


def _counted(
    services: OrderServices, step: str, orders: Sequence[Order], code: str | None, now: datetime
) -> StepError | None:
    """Counts the failed attempts, and returns the error to store with the orders."""
    services.metrics.count("step_retries_total", step, by=len(orders))
    if code is None:
        return None
    services.metrics.count("step_errors_total", step, code, by=len(orders))
    return StepError(step=step, code=code, at=now)


def _attempts(order: Order) -> int:
    attempts = order.get("attempts", 0)
    return attempts if isinstance(attempts, int) else 0
