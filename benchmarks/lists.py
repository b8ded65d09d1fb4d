"""Pages of the list, first and deep, plain and filtered, among few orders and among many."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import httpx

from benchmarks.documents import a_user, seed
from benchmarks.figures import DRIVER, Figure
from benchmarks.stage import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage

    Call = Callable[[], object]

FEW = 1_000
REQUESTS = 100
PAGE = 25
WALKED_BY = 100
DEPTH = 0.9


def lists(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """The time of a page among many orders, beside the same among 1,000 and the bare find."""
    with contextlib.ExitStack() as ending:
        services = {}
        for count in (plan.orders, FEW):
            services[count] = ending.enter_context(stage.service("web", database=f"{SERVICE}-{count}"))
            seed(services[count].database, count)
            plan.say(f"lists: {count:,} orders stored")
        calls = {count: ending.enter_context(_pages(service, count)) for count, service in services.items()}
        for what, call in calls[plan.orders].items():
            turns = {SERVICE: call, f"{SERVICE}, {FEW:,} orders": calls[FEW][what]}
            if what == "first page":
                turns[DRIVER] = _bare(services[plan.orders])
            seen: dict[str, list[float]] = defaultdict(list)
            for _ in range(plan.rounds):
                for whose, took in _medians_ms(turns).items():
                    seen[whose].append(took)
            plan.say(f"lists: {what}")
            for whose, medians in seen.items():
                yield Figure(f"GET /orders of {plan.orders:,}, {what}", "p50 ms", whose, tuple(medians))


@contextlib.contextmanager
def _pages(service: Contender, count: int) -> Iterator[dict[str, Call]]:
    """A call for each kind of page."""
    with httpx.Client(base_url=service.url, timeout=60) as client:

        def page(**query: str | int) -> httpx.Response:
            return client.get("/orders", params=query).raise_for_status()

        cursor = ""
        for _ in range(int(count * DEPTH) // WALKED_BY):
            cursor = page(limit=WALKED_BY, **({"cursor": cursor} if cursor else {})).json()["nextCursor"]
        yield {
            "first page": lambda: page(limit=PAGE),
            "deep page": lambda: page(limit=PAGE, cursor=cursor),
            "of one user": lambda: page(limit=PAGE, userId=a_user(count)),
            "of one status": lambda: page(limit=PAGE, status="confirmed"),
        }


def _bare(service: Contender) -> Call:
    orders = service.database.orders
    return lambda: list(orders.find({"visible": True}, {"events": 0}).sort("_id", -1).limit(PAGE))


def _medians_ms(turns: Mapping[str, Call]) -> dict[str, float]:
    """The median time of each call, made in turns one by one, so that noise meets all alike."""
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(REQUESTS):
        for whose, call in turns.items():
            begin = time.perf_counter()
            call()
            took[whose].append((time.perf_counter() - begin) * 1000)
    return {whose: statistics.median(times) for whose, times in took.items()}
