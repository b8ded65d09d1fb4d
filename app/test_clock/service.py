"""Moves the time forward, from one due time to the next, and does what comes due at each of them."""

import heapq
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

import structlog

from app.errors import Fault, InvalidInput
from app.mongo.movable_clock import Mover
from app.orders.log import Event
from app.orders.model import Order
from app.test_clock import TestClockServices
from app.test_clock.due_work import KINDS, STEPS, Walk
from app.webhooks.model import Attempt, Delivery

log = structlog.get_logger()

LONGEST = timedelta(days=366)
# Later times do not fit into the ids of orders for much longer.
LAST = datetime(2100, 1, 1, tzinfo=UTC)
# The most events, and the most attempts, in one answer.
MOST_SHOWN = 1_000
# Seconds after which a call ends, although it has not reached its time.
_PATIENCE = 20.0
# Work that is due makes other work due. More rounds than any order needs mean that something repeats itself.
_ROUNDS = 100
_SECOND = timedelta(seconds=1)
# Before any time that is stored.
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_AT_ONCE = 64


class Time(NamedTuple):
    """The time, how far it is ahead, and the time that a call began to move to and did not reach."""

    now: datetime
    offset: timedelta
    target: datetime | None


class Attempted(NamedTuple):
    """One attempt to deliver a webhook."""

    delivery: Delivery
    attempt: Attempt


class Advanced(NamedTuple):
    """The time after a call, and what happened meanwhile, oldest first: of the events and the attempts the
    first ones, and how many each list leaves out."""

    time: Time
    events: Sequence[tuple[Order, Event]]
    omitted_events: int
    attempts: Sequence[Attempted]
    omitted_attempts: int


def show_time(services: TestClockServices) -> Time:
    """The present time."""
    record = services.clock.record.get()
    offset = timedelta(milliseconds=record.get("offset", 0))
    return Time(services.clock.real() + offset, offset, record.get("target"))


def advance(services: TestClockServices, by: timedelta, patience: float = _PATIENCE) -> Advanced:
    """Moves the time forward, and does all work that comes due, at its time.

    A time that an earlier call did not reach counts first, since that call ended early or its process died.
    If this takes longer than `patience` seconds, `target` is left over for the next call. Raises InvalidInput
    if the time would be too late, and ClockIsMoving.
    """
    deadline = monotonic() + patience
    with services.clock.moving() as mover:
        now = services.clock()
        target = max(now, mover.found.get("target", now)) + by
        if target > LAST:
            raise InvalidInput(
                Fault("/by", f"must not lead past {LAST:%Y-%m-%d}, and the time is {now:%Y-%m-%d}")
            )
        since = mover.found.get("since", now)
        mover.note(target=target, since=since)
        mover.await_work()
        walk = Walk(services, lambda: monotonic() > deadline)
        reached = _walk(walk, mover, target)
        advanced = _advanced(walk, since)
        mover.note("since", *(("target",) if reached else ()))
    log.info("time moved", done=reached)
    return advanced._replace(time=show_time(services))


def _walk(walk: Walk, mover: Mover, target: datetime) -> bool:
    """Goes to the target, and returns whether it came there with all work done."""
    clock, stuck, rounds = walk.services.clock, set[str](), 0
    times = _times(walk, KINDS, stuck)
    while not walk.is_late():
        now = clock()
        due = [name for name in KINDS if name not in stuck and name in times and times[name] <= now]
        if due:
            rounds += 1
            stuck |= {name for name in due if not KINDS[name].work(walk) or rounds > _ROUNDS}
            changed = [name for name in KINDS if due != [STEPS] or KINDS[name].after_steps]
            times = {name: times[name] for name in times if name not in changed}
            times |= _times(walk, changed, stuck)
        elif now < target:
            # Beat finds what is due once a second, too.
            soonest = _whole_second(min(times.values(), default=target))
            mover.to(min(max(soonest, now + _SECOND), target))
            stuck, rounds = set(), 0
        else:
            # Meanwhile callers may have made more work due.
            times = _times(walk, KINDS, stuck)
            if all(moment > now for name, moment in times.items() if name not in stuck):
                return True
    return False


def _times(walk: Walk, kinds: Iterable[str], stuck: Container[str]) -> dict[str, datetime]:
    """The time at which each kind of work comes due next. What is stuck counts only once more comes due."""
    now = walk.services.clock()
    times = {name: KINDS[name].next(walk, now if name in stuck else _FIRST) for name in kinds}
    return {name: moment for name, moment in times.items() if moment}


def _whole_second(moment: datetime) -> datetime:
    return moment if not moment.microsecond else moment.replace(microsecond=0) + _SECOND


def _advanced(walk: Walk, since: datetime) -> Advanced:
    services = walk.services
    changed = sorted(walk.order_ids | set(services.due_times.changed_orders(since)))
    events, omitted_events = _cut(_events(services, changed, since), lambda one: (one[1]["at"], one[0]["id"]))
    attempts, omitted_attempts = _cut(
        (
            Attempted(delivery, attempt)
            for delivery in services.due_times.attempted_deliveries(since)
            for attempt in delivery["attempts"]
            if attempt["at"] >= since
        ),
        lambda one: (one.attempt["at"], one.delivery["id"]),
    )
    return Advanced(show_time(services), events, omitted_events, attempts, omitted_attempts)


def _cut(found: Iterable[Any], age: Any) -> tuple[list[Any], int]:
    """The oldest ones in order, and the number of the others."""
    number = 0

    def counted() -> Iterator[Any]:
        nonlocal number
        for one in found:
            number += 1
            yield one

    first = heapq.nsmallest(MOST_SHOWN, counted(), key=age)
    return first, number - len(first)


def _events(
    services: TestClockServices, order_ids: Sequence[str], since: datetime
) -> Iterator[tuple[Order, Event]]:
    for start in range(0, len(order_ids), _AT_ONCE):
        for order in services.orders.store.load_with_logs(order_ids[start : start + _AT_ONCE]):
            try:
                yield from [(order, event) for event in order["events"] if event["at"] >= since]
            except (LookupError, TypeError):
                log.warning("order is damaged, its events are left out", order_id=order["id"])
