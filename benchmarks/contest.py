"""POST and GET side by side: the service, its rivals and the bare driver take turns, round by round."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import floors, load
from benchmarks.documents import sample
from benchmarks.figures import DRIVER, Figure
from benchmarks.stage import PROCESSES, SERVICE, Contender, Stage, children, resident_mib
from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.floors import Floor
    from benchmarks.load import Load
    from benchmarks.plan import Plan

    Turn = Callable[[int], "Turned"]

BATCH = 16
UNITS = {"per s": "rate", "p50 ms": "p50", "p99 ms": "p99", "cpu us": "cpu"}
READ = 1000


class Turned(NamedTuple):
    """What one turn showed; `cpu` in microseconds per request, of the contender and both servers."""

    rate: float
    p50: float
    p99: float
    cpu: float | None = None
    requests: int = 0


def posts(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """POST /orders, durable, at every number of connections; then the memory of the service's web workers."""
    with _contenders(stage, plan) as contenders:
        for connections in plan.connections:
            turns: dict[str, Turn] = {one.name: posting(stage, one, connections, plan) for one in contenders}
            turns[DRIVER] = _floor(floors.inserts, stage, plan, clients=connections)
            yield from rounds(f"POST /orders, {connections} connections", turns, plan)
        turns = {f"{DRIVER}, {BATCH} at once": _floor(floors.inserts, stage, plan, clients=8, batch=BATCH)}
        yield from rounds("bare inserts", turns, plan)
        yield _memory(contenders[0])


def reads(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """GET /orders/{id}, at every number of connections."""
    with _contenders(stage, plan) as contenders:
        for connections in plan.connections:
            turns: dict[str, Turn] = {one.name: _reading(stage, one, connections, plan) for one in contenders}
            turns[DRIVER] = _floor(floors.finds, stage, plan, clients=connections)
            yield from rounds(f"GET /orders/{{id}}, {connections} connections", turns, plan)


@contextlib.contextmanager
def _contenders(stage: Stage, plan: Plan) -> Iterator[list[Contender]]:
    with contextlib.ExitStack() as ending:
        contenders = [ending.enter_context(stage.service("web"))]
        contenders += [ending.enter_context(stage.rival(name, name)) for name in plan.rivals]
        for one in contenders:
            load.post_orders(one.url, "warm", max(plan.connections), plan.warm_up, one.token)
        yield contenders


def posting(stage: Stage, one: Contender, connections: int, plan: Plan) -> Turn:
    def turn(number: int) -> Turned:
        before = one.database.orders.estimated_document_count()
        seen = _with_cpu(
            stage,
            one,
            lambda: load.post_orders(
                one.url, f"{connections}-{number}", connections, plan.seconds, one.token
            ),
        )
        stored = one.database.orders.estimated_document_count() - before
        if stored < seen.requests:
            raise Failed(f"{one.name} said 201 to {seen.requests} orders and stored {stored}")
        return seen

    return turn


def _reading(stage: Stage, one: Contender, connections: int, plan: Plan) -> Turn:
    paths = [f"/orders/{found['_id']}" for found in one.database.orders.find({}, {"_id": 1}).limit(READ)]
    scratch = stage.folder / f"{one.name}.paths"
    return lambda _: _with_cpu(
        stage, one, lambda: load.get_paths(one.url, paths, connections, plan.seconds, scratch)
    )


def _with_cpu(stage: Stage, one: Contender, drive: Callable[[], Load]) -> Turned:
    before = one.cpu_seconds() + stage.cpu_seconds()
    seen = drive()
    used = one.cpu_seconds() + stage.cpu_seconds() - before
    return Turned(seen.rate, seen.p50, seen.p99, used / seen.requests * 1e6, seen.requests)


def _floor(call: Callable[..., Floor], stage: Stage, plan: Plan, **options: int) -> Turn:
    uri = stage.mongo.uri(floors.DATABASE)
    return lambda _: Turned(*call(uri, sample(), seconds=plan.seconds, processes=PROCESSES, **options))


def rounds(what: str, turns: Mapping[str, Turn], plan: Plan) -> Iterator[Figure]:
    seen: dict[str, list[Turned]] = defaultdict(list)
    for number in range(plan.rounds):
        for whose, turn in turns.items():
            seen[whose].append(turn(number))
            plan.say(f"{what}: {whose}, round {number + 1} of {plan.rounds}: {seen[whose][-1].rate:,.0f}/s")
    for unit, field in UNITS.items():
        for whose, turned in seen.items():
            rounds = tuple(getattr(one, field) for one in turned)
            if None not in rounds:
                yield Figure(what, unit, whose, rounds)


def _memory(service: Contender) -> Figure:
    largest = max(resident_mib(worker) for worker in children(service.pids["web"]))
    return Figure("resident memory after load", "MiB", f"{SERVICE}, web worker", (largest,))
