"""The processor time that each process takes per thousand orders, when they trickle in and when they pour."""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import httpx

from benchmarks import load
from benchmarks.figures import Figure
from benchmarks.progress import await_finished
from benchmarks.stage import children, cpu_seconds, resident_mib
from benchmarks.whole import ROLES, stocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage

TRICKLE = 20


def costs(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """Processor seconds per 1,000 orders until they are announced, at two paces, and of a quiet minute."""
    with stocked(partial(stage.service, *ROLES)) as service:
        _until_announced(service, lambda: load.post_orders(service.url, "warm", 16, plan.warm_up))
        paces: dict[str, Callable[[int], object]] = {
            f"{TRICKLE} orders a second": lambda turn: _trickle(service, plan.seconds * 3),
            "as many as it takes": lambda turn: load.post_orders(service.url, f"{turn}", 16, plan.seconds),
        }
        for pace, orders in paces.items():
            seen: dict[str, list[float]] = defaultdict(list)
            for turn in range(plan.rounds):
                for part, seconds in _cost(stage, service, partial(orders, turn)):
                    seen[part].append(seconds)
                plan.say(f"costs: {pace}, round {turn + 1} of {plan.rounds}")
            for part, rounds in seen.items():
                yield Figure(f"cost of 1,000 orders, {pace}", "cpu s", part, tuple(rounds))
        yield from _idle(stage, service, plan)
        for role in ROLES:
            held = sum(resident_mib(pid) for pid in (service.pids[role], *children(service.pids[role])))
            yield Figure("resident memory after it", "MiB", role, (held,))


def _cost(stage: Stage, service: Contender, orders: Callable[[], object]) -> Iterator[tuple[str, float]]:
    used = _used(stage, service)
    taken = _until_announced(service, orders)
    for part, seconds in _used(stage, service).items():
        yield part, (seconds - used[part]) / taken * 1000


def _used(stage: Stage, service: Contender) -> dict[str, float]:
    """The processor seconds of every part so far, the servers among them."""
    parts = {role: [pid, *children(pid)] for role, pid in service.pids.items()}
    parts |= {"mongod": [stage.mongo.pid], "broker": [stage.broker.pid]}
    return {part: sum(map(cpu_seconds, pids)) for part, pids in parts.items()}


def _until_announced(service: Contender, orders: Callable[[], object]) -> int:
    """How many orders came in, once all of them are confirmed and announced."""
    had = service.orders()
    orders()
    await_finished(service)
    return service.orders() - had


def _trickle(service: Contender, seconds: float) -> None:
    """Orders at an even pace, whatever each of them takes."""
    body = {"products": [{"productId": "product-01", "quantity": 1}], "totalAmount": 200.00}
    with httpx.Client(base_url=service.url) as client, ThreadPoolExecutor(4) as senders:

        def order(number: int) -> None:
            client.post("/orders", json={"userId": f"user-{number}", **body}).raise_for_status()

        begin, sent = time.monotonic(), []
        for number in range(round(seconds * TRICKLE)):
            time.sleep(max(0.0, begin + number / TRICKLE - time.monotonic()))
            sent.append(senders.submit(order, number))
        for each in sent:
            each.result()


def _idle(stage: Stage, service: Contender, plan: Plan) -> Iterator[Figure]:
    used, begin = _used(stage, service), time.monotonic()
    time.sleep(plan.seconds * 3)
    took = time.monotonic() - begin
    for part, seconds in _used(stage, service).items():
        yield Figure(
            "cost of a minute, nobody ordering", "cpu s", part, ((seconds - used[part]) / took * 60,)
        )
