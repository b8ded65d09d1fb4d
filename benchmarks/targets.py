"""What each piece of work should reach. `make bench` ends with this list."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import contest, guards, latency, lists, memory, reconcile, relay, whole
from benchmarks.figures import HIGHER
from benchmarks.stage import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.figures import Figure


class Target(NamedTuple):
    """A bound for the service's figure of a piece of work, in its unit.

    With `against`, the bound is a multiple: `least` of how much better the service is than that contender, in
    rate or processor time, `most` of how much more time it takes.
    """

    what: str
    unit: str
    least: float | None = None
    most: float | None = None
    against: str = ""


class Verdict(NamedTuple):
    """A target with the measured value."""

    target: Target
    value: float

    @property
    def reached(self) -> bool:
        """Whether the value is within the bound."""
        least, most = self.target.least, self.target.most
        return (least is None or self.value >= least) and (most is None or self.value <= most)


def _better(what: str, bound: float, against: str) -> list[Target]:
    """By rate and by processor time."""
    return [Target(what, unit, least=bound, against=against) for unit in ("per s", "cpu us")]


POST_16, POST_64 = (contest.POSTS.format(connections) for connections in (16, 64))
GET_16, GET_64 = (contest.READS.format(connections) for connections in (16, 64))
FASTIFY, EXPRESS = "fastify", "express"

TARGETS: list[Target] = [
    *_better(POST_16, 1.5, FASTIFY),
    *_better(POST_64, 1.5, FASTIFY),
    *_better(POST_16, 3.5, EXPRESS),
    *_better(POST_64, 3.5, EXPRESS),
    *_better(GET_16, 1.2, FASTIFY),
    *_better(GET_64, 1.1, FASTIFY),
    *_better(whole.WHAT, 2.5, FASTIFY),
    Target(whole.WHAT, "cpu us", most=1400),
    Target(whole.ACCEPTING, "per s", least=1.5, against=FASTIFY),
    Target(whole.ACCEPTING, "p99 ms", most=60),
    Target(latency.WHAT, "p50 ms", most=15),
    Target(latency.WHAT, "p99 ms", most=40),
    *_better(guards.WHAT.format(16), 0.9, guards.BARE),
    *_better(guards.WHAT.format(64), 0.9, guards.BARE),
    Target(reconcile.WHAT, "per s", least=0.95, against=reconcile.ALONE),
    Target(relay.REPLAYED, "per s", least=2_000),
    Target(relay.REPLAYED, "cpu us", most=500),
    Target(memory.WEB_STRIPE, "MiB", most=90),
    Target(whole.CHILD, "MiB", most=90),
    Target(whole.RELAY, "MiB", most=80),
    *(
        Target(lists.WHAT.format(kind), "p50 ms", most=1.2, against=lists.AMONG_FEW)
        for kind in lists.ONE_FILTER
    ),
    *(Target(lists.WHAT.format(kind), "p50 ms", most=5) for kind in lists.ONE_KEY + lists.TWO_FILTERS),
]


def verdicts(figures: Iterable[Figure]) -> Iterator[Verdict]:
    """Each target whose figures were measured."""
    medians = {(one.what, one.unit, one.whose): statistics.median(one.rounds) for one in figures}
    for target in TARGETS:
        own = medians.get((target.what, target.unit, SERVICE))
        other = medians.get((target.what, target.unit, target.against)) if target.against else 1.0
        if own is not None and other is not None:
            better = target.least is not None and target.against and target.unit not in HIGHER
            yield Verdict(target, other / own if better else own / other)


def sentences(judged: Iterable[Verdict]) -> Iterator[str]:
    """A line for each verdict."""
    for target, value in judged:
        times = "x" if target.against else ""
        bound = f"at least {target.least:g}" if target.least is not None else f"at most {target.most:g}"
        against = f" against {target.against}" if target.against else ""
        word = "reached" if Verdict(target, value).reached else "NOT REACHED"
        yield f"{word:<12} {value:>8,.2f}{times:<1}  {bound}{times}: {target.what}, {target.unit}{against}"


def as_json(judged: Iterable[Verdict]) -> list[dict[str, object]]:
    """The verdicts as plain data."""
    return [{**one.target._asdict(), "value": one.value, "reached": one.reached} for one in judged]
