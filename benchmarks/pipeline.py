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
ON_HAND = 1_000_000_000
LOOK_EVERY = 0.05
GIVE_UP_AFTER = 120
PAUSE = 0.03
SETTLE = 0.2
BODY = {
    "userId": "user-alone",
    "products": [{"productId": "product-01", "quantity": 1}],
    "totalAmount": 200.00,
}


class Line(NamedTuple):
    """A contender with all of its processes up, and those of them that work in the background."""

    contender: Contender
    background: tuple[str, ...]


def pipeline(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """Work off a backlog, in turns; then the latency of single orders; then the memory of a Celery child."""
    with _lines(stage, plan) as lines:
        for line in lines:
            _worked_off(line, "warm", plan.backlog // 4)
        rates: dict[str, list[float]] = defaultdict(list)
        for number in range(plan.rounds):
            floor = floors.inserts(stage.mongo.uri(floors.DATABASE), sample(), 16, plan.seconds, PROCESSES)
            rates[DRIVER].append(floor.rate)
            for line in lines:
                name = line.contender.name
                rates[name].append(_worked_off(line, f"{number}", plan.backlog))
                plan.say(f"backlog: {name}, round {number + 1} of {plan.rounds}: {rates[name][-1]:,.0f}/s")
        for name, seen in rates.items():
            yield Figure("from POST to confirmed and announced", "orders per s", name, tuple(seen))
        yield from _latencies(lines, plan)
        yield _memory(lines[0].contender)


@contextlib.contextmanager
def _lines(stage: Stage, plan: Plan) -> Iterator[list[Line]]:
    with contextlib.ExitStack() as ending:
        service = ending.enter_context(stage.service("web", "relay", "worker", "beat"))
        lines = [Line(service, ("relay", "worker"))]
        for product in range(PRODUCTS):
            httpx.put(
                f"{service.url}/stock/product-{product:02d}", json={"onHand": ON_HAND}
            ).raise_for_status()
        if plan.rivals:
            rival = ending.enter_context(stage.rival("bullmq", "fastify", RIVAL))
            levels = [{"_id": f"product-{product:02d}", "onHand": ON_HAND} for product in range(PRODUCTS)]
            rival.database.stock.insert_many(levels)
            lines.append(Line(rival, (RIVAL,)))
        yield lines


def _worked_off(line: Line, run: str, backlog: int) -> float:
    """Orders per second of a backlog, posted while the background stood still; the clock starts with it."""
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
        begin = time.perf_counter()
        one.thaw(*line.background)
    while _finished(one) < before + posted:
        if time.perf_counter() - begin > GIVE_UP_AFTER:
            raise Failed(f"{one.name} did not finish {posted:,} orders in {GIVE_UP_AFTER} s")
        time.sleep(LOOK_EVERY)
    return posted / (time.perf_counter() - begin)


def _finished(one: Contender) -> int:
    announced = one.database.notifications.count_documents({"type": "order.confirmed"})
    return min(announced, one.database.orders.count_documents({"status": "confirmed"}))


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
