"""From the 201 to a confirmed and announced order: how many per second, and how soon for one alone."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import httpx

from benchmarks import floors, load
from benchmarks.documents import PRODUCTS, sample
from benchmarks.figures import DRIVER, Figure
from benchmarks.stage import PROCESSES, SERVICE, Contender, Stage, children, resident_mib
from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Plan

RIVAL = "bullmq-worker"
WHAT = "from POST to confirmed and announced"
ON_HAND = 1_000_000_000
LOOK_EVERY = 0.02
GIVE_UP_AFTER = 120
PAUSE = 0.03
SETTLE = 0.2
BODY = {
    "userId": "user-alone",
    "products": [{"productId": "product-01", "quantity": 1}],
    "totalAmount": 200.00,
}


class Line(NamedTuple):
    """A contender with all of its processes up, those of them that work in the background, and how many
    notifications an order has been announced by once it is confirmed."""

    contender: Contender
    background: tuple[str, ...]
    notifications: int


class Drained(NamedTuple):
    """Orders per second, and microseconds of processor time per order, of the contender and both servers."""

    rate: float
    cpu: float | None


def pipeline(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """Work off a backlog, in turns; then the latency of single orders; then the memory of a Celery child."""
    with _lines(stage, plan) as lines:
        for line in lines:
            worked_off(stage, line, "warm", plan.backlog // 4)
        seen: dict[str, list[Drained]] = defaultdict(list)
        for number in range(plan.rounds):
            for line in lines:
                name = line.contender.name
                seen[name].append(worked_off(stage, line, f"{number}", plan.backlog))
                plan.say(
                    f"backlog: {name}, round {number + 1} of {plan.rounds}: {seen[name][-1].rate:,.0f}/s"
                )
            floor = floors.inserts(stage.mongo.uri(floors.DATABASE), sample(), 16, plan.seconds, PROCESSES)
            seen[DRIVER].append(Drained(floor.rate, None))
        for name, drained in seen.items():
            yield Figure(WHAT, "orders per s", name, tuple(one.rate for one in drained))
        for name, drained in seen.items():
            rounds = tuple(one.cpu for one in drained if one.cpu is not None)
            if rounds:
                yield Figure(WHAT, "cpu us", name, rounds)
        yield from _latencies(lines, plan)
        yield _memory(lines[0].contender)


@contextlib.contextmanager
def _lines(stage: Stage, plan: Plan) -> Iterator[list[Line]]:
    with contextlib.ExitStack() as ending:
        service = ending.enter_context(stage.service("web", "relay", "worker", "beat"))
        lines = [line_of(service)]
        if plan.rivals:
            rival = ending.enter_context(stage.rival("bullmq", "fastify", RIVAL))
            levels = [{"_id": f"product-{product:02d}", "onHand": ON_HAND} for product in range(PRODUCTS)]
            rival.database.stock.insert_many(levels)
            lines.append(Line(rival, (RIVAL,), notifications=1))
        yield lines


def line_of(service: Contender) -> Line:
    """The service with all that the orders need in stock."""
    for product in range(PRODUCTS):
        httpx.put(f"{service.url}/stock/product-{product:02d}", json={"onHand": ON_HAND}).raise_for_status()
    return Line(service, ("relay", "worker"), notifications=2)


def worked_off(stage: Stage, line: Line, run: str, backlog: int) -> Drained:
    """A backlog, posted while the background stood still; the clock starts with the background."""
    one = line.contender
    before = one.database.orders.estimated_document_count()
    posted = 0
    one.freeze(*line.background)
    try:
        while posted < backlog:
            load.post_orders(one.url, f"{run}-{posted}", 16, 1)
            time.sleep(SETTLE)
            posted = one.database.orders.estimated_document_count() - before
    finally:
        begin, used = time.perf_counter(), one.cpu_seconds() + stage.cpu_seconds()
        one.thaw(*line.background)
    # A count by a filter would have the database work for the benchmark; this one is free.
    while one.database.notifications.estimated_document_count() < (before + posted) * line.notifications:
        if time.perf_counter() - begin > GIVE_UP_AFTER:
            raise Failed(f"{one.name} did not finish {posted:,} orders in {GIVE_UP_AFTER} s")
        time.sleep(LOOK_EVERY)
    took, used = time.perf_counter() - begin, one.cpu_seconds() + stage.cpu_seconds() - used
    _check(one, before + posted)
    return Drained(posted / took, used / posted * 1e6)


def _check(one: Contender, orders: int) -> None:
    announced = one.database.notifications.count_documents({"type": "order.confirmed"})
    confirmed = one.database.orders.count_documents({"status": "confirmed"})
    if not orders == announced == confirmed:
        raise Failed(f"{one.name}: of {orders:,} orders {confirmed:,} are confirmed, {announced:,} announced")


def _latencies(lines: list[Line], plan: Plan) -> Iterator[Figure]:
    seen: dict[str, list[float]] = {}
    for line in lines:
        seen[line.contender.name] = sorted(_alone(line.contender, plan.probes))
        plan.say(f"latency: {line.contender.name}: {plan.probes} orders, one after the other")
    for percent in (50, 99):
        for name, took in seen.items():
            rank = took[min(len(took) - 1, round(len(took) * percent / 100))]
            yield Figure("from 201 to confirmed, alone", f"p{percent} ms", name, (rank,))


def _alone(one: Contender, probes: int) -> Iterator[float]:
    """Milliseconds from each 201 until the change to confirmed is seen on the database's change stream."""
    confirmed = [{"$match": {"updateDescription.updatedFields.status": "confirmed"}}]
    with httpx.Client(base_url=one.url) as client, one.database.orders.watch(confirmed) as changes:
        for _ in range(probes):
            time.sleep(PAUSE)
            answer = client.post("/orders", json=BODY)
            begin = time.perf_counter()
            answer.raise_for_status()
            wanted = answer.json()["order"]["id"]
            while (change := changes.try_next()) is None or str(change["documentKey"]["_id"]) != wanted:
                if time.perf_counter() - begin > GIVE_UP_AFTER:
                    raise Failed(f"{one.name} did not confirm an order in {GIVE_UP_AFTER} s")
            yield (time.perf_counter() - begin) * 1000


def _memory(service: Contender) -> Figure:
    largest = max(resident_mib(child) for child in children(service.pids["worker"]))
    return Figure("resident memory after load", "MiB", f"{SERVICE}, Celery child", (largest,))
