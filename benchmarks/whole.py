"""The whole job, sustained: orders are posted while the processes in the background work on them."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

import httpx

from benchmarks import fairness
from benchmarks.documents import PRODUCTS
from benchmarks.progress import await_finished
from benchmarks.stage import SERVICE, children, resident_mib
from benchmarks.turns import Seen, check_stored, posted, take_turns, warm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.figures import Figure
    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage
    from benchmarks.turns import Opened, Turn

ROLES = ("web", "relay", "worker", "beat")
RIVAL = ("fastify", "bullmq-worker")
WHAT = "the whole job, 16 connections"
ACCEPTING = "POST /orders while orders are processed, 16 connections"
CHILD, RELAY = "memory of a Celery child", "memory of the relay"
CONNECTIONS = 16
ON_HAND = 1_000_000_000


def whole(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """Orders posted, by the time until the last of them is confirmed and announced."""
    turns = {name: _turn(stage, plan, opened) for name, opened in lines(stage, plan).items()}
    return take_turns(turns, plan)


def lines(stage: Stage, plan: Plan) -> dict[str, Opened]:
    """The contenders with all of their processes."""
    rival: dict[str, Opened] = {RIVAL[0]: partial(stage.rival, *RIVAL)} if plan.rivals else {}
    return {SERVICE: partial(stage.service, *ROLES), **rival}


def _turn(stage: Stage, plan: Plan, opened: Opened) -> Turn:
    def turn(number: int) -> Iterator[Seen]:
        with warm(stage, plan, partial(stocked, opened)) as one:
            yield from worked(stage, one, f"{number}", plan.sustained)
            if one.name == SERVICE:
                child = max(map(resident_mib, children(one.pids["worker"])))
                yield Seen(CHILD, {"MiB": child})
                yield Seen(RELAY, {"MiB": resident_mib(one.pids["relay"])})

    return turn


@contextlib.contextmanager
def stocked(opened: Opened) -> Iterator[Contender]:
    """The contender, with all that the orders need in stock."""
    with opened() as one:
        products = [f"product-{number:02d}" for number in range(PRODUCTS)]
        if one.name == SERVICE:
            for product in products:
                httpx.put(f"{one.url}/stock/{product}", json={"onHand": ON_HAND}).raise_for_status()
        else:
            one.database.stock.insert_many([{"_id": product, "onHand": ON_HAND} for product in products])
        yield one


def worked(stage: Stage, one: Contender, run: str, seconds: float, what: str = WHAT) -> Iterator[Seen]:
    """Post for that long, then wait until all is done. The clock runs from the first POST to the end."""
    await_finished(one)
    fairness.refuse(one.name, fairness.left_over(one.orders(), one.progress.finished(one.database)))
    stage.settle()
    had, used, begin = one.orders(), stage.cpu_seconds(one), time.perf_counter()
    accepted = posted(one, run, CONNECTIONS, seconds)
    await_finished(one)
    took, used = time.perf_counter() - begin, stage.cpu_seconds(one) - used
    orders = one.orders() - had
    fairness.refuse(one.name, fairness.left_over(one.orders(), one.progress.finished(one.database)))
    check_stored(one, accepted)
    yield Seen(what, {"per s": orders / took, "cpu us": used / orders * 1e6}, accepted.body)
    if what == WHAT:
        latencies = {"p50 ms": accepted.p50, "p99 ms": accepted.p99}
        yield Seen(ACCEPTING, {"per s": accepted.rate, **latencies}, accepted.body)
