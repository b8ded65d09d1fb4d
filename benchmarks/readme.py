"""The rows of the README's table of figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks import contest, guards, latency, lists, memory, reconcile, relay, webhooks, whole
from benchmarks.figures import DRIVER, HIGHER
from benchmarks.stage import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from benchmarks.figures import Figure
    from benchmarks.plan import Plan

    Medians = Mapping[tuple[str, str, str], float]

RATE, P99, BOTH = ("per s", "cpu us"), ("p99 ms",), ("p50 ms", "p99 ms")
SHOWN = {
    "per s": "{:,.0f} per s",
    "cpu us": "{:,.0f} µs",
    "p50 ms": "{:,.1f} ms",
    "p99 ms": "{:,.1f} ms",
    "s": "{:,.1f} s",
    "MiB": "{:,.0f} MiB",
    "peak MiB": "{:,.0f} MiB",
}
TIMES = "\N{MULTIPLICATION SIGN}"
OTHERS = ("express", "fastify", DRIVER)
HEAD = (
    "| what | service | the original's design | Fastify, with BullMQ workers | bare driver | measured |",
    "| --- | --- | --- | --- | --- | --- |",
)


class Row(NamedTuple):
    """Figures of one or more pieces of work in one row. With `against`, it shows the service as a multiple of
    that contender, over all the pieces."""

    title: str
    whats: Sequence[str]
    units: Sequence[str]
    against: str = ""


def rows(plan: Plan) -> Iterator[Row]:
    """All rows of the table, in its order."""
    for title, what in (("`POST /orders`", contest.POSTS), ("`GET /orders/{id}`", contest.READS)):
        for connections in plan.connections:
            yield Row(f"{title}, {connections} connections", [what.format(connections)], RATE)
    yield Row("`POST /orders`, 16 connections, p99", [contest.POSTS.format(16)], P99)
    yield Row("the whole job, 16 connections: from POST to `confirmed` and announced", [whole.WHAT], RATE)
    yield Row("`POST /orders` meanwhile", [whole.ACCEPTING], ("per s",))
    yield Row("`POST /orders` meanwhile, p99", [whole.ACCEPTING], P99)
    yield Row("from 201 to `confirmed`, idle, p50 / p99", [latency.WHAT], BOTH)
    guarded = "`POST /orders` with tokens, limits and logs, most tokens new, against none of them"
    for connections in plan.connections:
        what = guards.WHAT.format(connections)
        yield Row(f"{guarded}, {connections} connections", [what], RATE, guards.BARE)
    yield Row(f"a reconciliation of {plan.books:,} orders", [reconcile.ALONE_WHAT], ("s", "peak MiB"))
    yield Row("`POST /orders` while it runs, against without", [reconcile.WHAT], ("per s",), reconcile.ALONE)
    among = f"a page of the list, of {plan.orders:,} orders against 1,000, p50"
    one, key, two = (
        [lists.WHAT.format(kind) for kind in kinds]
        for kinds in (lists.ONE_FILTER, lists.ONE_KEY, lists.TWO_FILTERS)
    )
    yield Row(f"{among}, one filter", one, ("p50 ms",), lists.AMONG_FEW)
    yield Row(f"finding one of {plan.orders:,} orders by a key, p50", key, ("p50 ms",))
    yield Row(f"a page of {plan.orders:,} orders with two filters, p50", two, ("p50 ms",))
    yield Row("orders through one relay, from a backlog", [relay.REPLAYED], RATE)
    yield Row("1,000 webhooks to a receiver on the same machine", [webhooks.DELIVERED], ("s",))
    idle = "the whole job with 10 idle webhook endpoints, against none"
    yield Row(idle, [webhooks.WHAT], RATE, webhooks.WITHOUT)
    for title, what in (
        ("memory of a web worker", memory.WEB),
        ("memory of a web worker, Stripe chosen", memory.WEB_STRIPE),
        ("memory of a Celery child", whole.CHILD),
        ("memory of the relay", whole.RELAY),
    ):
        yield Row(title, [what], ("MiB",))


def table(figures: Sequence[Figure], plan: Plan, day: date) -> Iterator[str]:
    """The table, with those rows that were measured."""
    medians = {(one.what, one.unit, one.whose): one.median for one in figures}
    yield from HEAD
    for row in rows(plan):
        if any((row.whats[0], unit, SERVICE) in medians for unit in row.units):
            yield f"| {' | '.join([row.title, *_cells(row, medians), f'{day:%Y-%m-%d}'])} |"


def _cells(row: Row, medians: Medians) -> list[str]:
    if row.against:
        return [", ".join(_multiples(row, unit, medians) for unit in row.units), *[""] * len(OTHERS)]
    own = " / ".join(
        _span([medians[what, unit, SERVICE] for what in row.whats], SHOWN[unit]) for unit in row.units
    )
    return [own, *(_compared(row, other, medians) for other in OTHERS)]


def _multiples(row: Row, unit: str, medians: Medians) -> str:
    values = [medians[what, unit, SERVICE] / medians[what, unit, row.against] for what in row.whats]
    by = " processor time" if unit == "cpu us" else ""
    return _span(values, f"{{:.2f}}{TIMES}") + by


def _span(values: Sequence[float], form: str) -> str:
    shown = [form.format(value) for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(shown))


def _compared(row: Row, other: str, medians: Medians) -> str:
    """Its figures, and how many times better the service is."""
    cells = []
    for unit in row.units:
        own, its = (medians.get((row.whats[0], unit, whose)) for whose in (SERVICE, other))
        if own and its:
            better = own / its if unit in HIGHER else its / own
            cells.append(f"{SHOWN[unit].format(its)} ({better:.2f}{TIMES})")
    return " / ".join(cells)
