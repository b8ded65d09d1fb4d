"""POST and GET side by side: the service, its rivals and the bare driver take turns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks import floors, load
from benchmarks.documents import sample
from benchmarks.figures import DRIVER
from benchmarks.stage import PROCESSES, SERVICE
from benchmarks.turns import Seen, check_stored, posted, take_turns, warm, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.figures import Figure
    from benchmarks.floors import Floor
    from benchmarks.load import Load
    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage
    from benchmarks.turns import Opened, Turn

    Tokens = Callable[[str, float], Path]

POSTS, READS = "POST /orders, {} connections", "GET /orders/{{id}}, {} connections"
BATCH, SENDERS = 16, 8
READ = 1000


def posts(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """POST /orders, durable, at every number of connections, by the web processes alone."""
    turns = {name: posting(stage, plan, opened) for name, opened in _opened(stage, plan).items()}
    turns[DRIVER] = _floor(stage, plan, POSTS, floors.inserts)
    turns[f"{DRIVER}, {BATCH} at once"] = _batches(stage, plan)
    return take_turns(turns, plan)


def reads(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """GET /orders/{id}, at every number of connections."""
    turns = {name: _reading(stage, plan, opened) for name, opened in _opened(stage, plan).items()}
    turns[DRIVER] = _floor(stage, plan, READS, floors.finds)
    return take_turns(turns, plan)


def _opened(stage: Stage, plan: Plan) -> dict[str, Opened]:
    rivals: dict[str, Opened] = {name: partial(stage.rival, name) for name in plan.rivals}
    return {SERVICE: partial(stage.service, "web"), **rivals}


def posting(
    stage: Stage, plan: Plan, opened: Opened, what: str = POSTS, tokens: Tokens | None = None
) -> Turn:
    """Turns of POST; `tokens` makes the file of tokens for a run of so many seconds."""

    def turn(number: int) -> Iterator[Seen]:
        with warm(stage, plan, opened, tokens and tokens("warm", plan.warm_up)) as one:
            for connections in plan.connections:
                run = f"{connections}-{number}"
                sent = tokens and tokens(run, plan.seconds)
                drive = partial(posted, one, run, connections, plan.seconds, sent)
                yield _measured(stage, one, what.format(connections), drive)

    return turn


def _reading(stage: Stage, plan: Plan, opened: Opened) -> Turn:
    def turn(_: int) -> Iterator[Seen]:
        with warm(stage, plan, opened) as one:
            found = one.database.orders.find({}, {"_id": 1}).limit(READ)
            paths = [f"/orders/{order['_id']}" for order in found]
            read = partial(load.get_paths, one.url, paths, scratch=stage.folder / f"{one.name}.paths")
            warm_up(one, plan, partial(read, max(plan.connections), plan.warm_up))
            for connections in plan.connections:
                drive = partial(read, connections, plan.seconds)
                yield _measured(stage, one, READS.format(connections), drive)

    return turn


def _measured(stage: Stage, one: Contender, what: str, drive: Callable[[], Load]) -> Seen:
    """Rate, latency, and the processor time of the contender and both servers, in microseconds a request."""
    before = stage.cpu_seconds(one)
    seen = drive()
    used = stage.cpu_seconds(one) - before
    if seen.body:
        check_stored(one, seen)
    values = {
        "per s": seen.rate,
        "p50 ms": seen.p50,
        "p99 ms": seen.p99,
        "cpu us": used / seen.requests * 1e6,
    }
    return Seen(what, values, seen.body)


def _floor(stage: Stage, plan: Plan, what: str, call: Callable[..., Floor]) -> Turn:
    def turn(_: int) -> Iterator[Seen]:
        uri = stage.mongo.uri(floors.DATABASE)
        for connections in plan.connections:
            seen = call(uri, sample(), connections, plan.seconds, PROCESSES)
            yield Seen(what.format(connections), _values(seen))

    return turn


def _batches(stage: Stage, plan: Plan) -> Turn:
    def turn(_: int) -> Iterator[Seen]:
        uri = stage.mongo.uri(floors.DATABASE)
        seen = floors.inserts(uri, sample(), SENDERS, plan.seconds, PROCESSES, BATCH)
        yield Seen("bare inserts", _values(seen))

    return turn


def _values(seen: Floor) -> dict[str, float]:
    return {"per s": seen.rate, "p50 ms": seen.p50, "p99 ms": seen.p99}
