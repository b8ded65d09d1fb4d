"""The contenders take turns, round by round, and each of their figures is collected."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import fairness, load
from benchmarks.figures import Figure
from benchmarks.stage import PROCESSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage

    Opened = Callable[[], AbstractContextManager[Contender]]
    Turn = Callable[[int], Iterator["Seen"]]

# So often is the warm-up repeated on a slow machine.
MOST_WARM_UPS = 20


class Seen(NamedTuple):
    """What one turn showed of one piece of work, by unit, and one of the bodies that were sent for it."""

    what: str
    values: Mapping[str, float]
    body: Mapping[str, Any] | None = None


def take_turns(turns: Mapping[str, Turn], plan: Plan) -> Iterator[Figure]:
    """Every contender once a round, in the reverse order in every other round."""
    seen: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    sizes: dict[str, dict[str, int]] = defaultdict(dict)
    for number in range(plan.rounds):
        for whose in list(turns)[:: -1 if number % 2 else 1]:
            for what, values, body in turns[whose](number):
                for unit, value in values.items():
                    seen[what, unit, whose].append(value)
                if body:
                    sizes[what][whose] = len(str(body))
                shown = ", ".join(f"{value:,.1f} {unit}" for unit, value in values.items())
                plan.say(f"{what}: {whose}, round {number + 1} of {plan.rounds}: {shown}")
    for what, bytes_by_name in sizes.items():
        fairness.refuse(what, fairness.other_bodies(bytes_by_name))
    for (what, unit, whose), rounds in seen.items():
        yield Figure(what, unit, whose, tuple(rounds))


@contextlib.contextmanager
def warm(stage: Stage, plan: Plan, opened: Opened, tokens: Path | None = None) -> Iterator[Contender]:
    """A contender that has run for a while, with as many processes as the others; its writes are watched."""
    before = stage.writes()
    with opened() as one:
        connections, seconds = max(plan.connections), plan.warm_up
        warm_up(one, plan, lambda: load.post_orders(one.url, "warm", connections, seconds, tokens))
        fairness.refuse(one.name, fairness.other_processes(one.children(), PROCESSES))
        stage.settle()
        yield one
        fairness.refuse(one.name, fairness.errors(0, 0, one.failed_jobs()))
        fairness.refuse(one.name, fairness.weaker_writes(before, stage.writes()))


def warm_up(one: Contender, plan: Plan, drive: Callable[[], load.Load]) -> None:
    """Repeat that load until enough requests are answered for compilers and caches to be warm."""
    answered = 0
    for _ in range(MOST_WARM_UPS):
        answered += drive().requests
        if answered >= plan.warm_requests:
            break
    fairness.refuse(one.name, fairness.not_warm(answered, plan.warm_requests))


def posted(
    one: Contender, run: str, connections: int, seconds: float, tokens: Path | None = None
) -> load.Load:
    """Orders posted for that long, all of which must be stored."""
    had = one.orders()
    seen = load.post_orders(one.url, run, connections, seconds, tokens)
    fairness.refuse(one.name, fairness.not_stored(seen.requests, one.orders() - had))
    return seen


def check_stored(one: Contender, seen: load.Load) -> None:
    """The sample order of that load must be stored as it was sent; this reads all orders of a rival."""
    stored = one.database.orders.find_one({"userId": seen.body["userId"]})
    fairness.refuse(one.name, fairness.another_order(seen.body, stored))
