"""What one relay keeps up with: the changes of orders, replayed from a backlog, and as they come in."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import redis

from app.broker import QUEUES
from app.clock import now
from app.mongo.database import connect
from app.orders.model import advance
from app.orders.store import Orders
from benchmarks.documents import CHUNK, CONFIRMED, documents_of, orders
from benchmarks.figures import Figure
from benchmarks.stage import SERVICE
from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage

# The writes of an order after its first, as the background steps make them.
WRITES = (CONFIRMED[:1], CONFIRMED[1:2], CONFIRMED[2:])
EVENTS = 1 + sum(map(len, WRITES))
# Orders of a backlog, for each second of the plan, and orders that come in per second.
BACKLOG = 3_000
PACE = 500
TICK = 0.01
REPLAYED = "changes through the relay, from a backlog"
FLOWING = f"changes through the relay, {PACE} orders a second"
LOOK_EVERY = 0.01
GIVE_UP_AFTER = 240


class Run(NamedTuple):
    """Orders per second, and microseconds of processor time per order, of the relay and of both servers."""

    rate: float
    cpu: float
    servers: float


def relay(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """A backlog that is written while the relay stands still; then orders that come in at an even pace."""
    with stage.service("relay") as service, _workers(service.broker_url):
        database = connect(stage.mongo.uri(service.database.name))
        backlog = round(BACKLOG * plan.seconds)
        _replay(stage, service, database, backlog)
        backlogs, flows = [], []
        for number in range(plan.rounds):
            backlogs.append(_replay(stage, service, database, backlog))
            flows.append(_follow(stage, service, database, round(PACE * plan.seconds)))
            plan.say(f"relay: round {number + 1} of {plan.rounds}: {backlogs[-1].rate:,.0f}/s")
        database.client.close()
        for what, runs in {REPLAYED: backlogs, FLOWING: flows}.items():
            yield Figure(what, "per s", SERVICE, tuple(run.rate for run in runs))
            yield Figure(what, "cpu us", SERVICE, tuple(run.cpu for run in runs))
            yield Figure(what, "cpu us", "both servers", tuple(run.servers for run in runs))


def _replay(stage: Stage, service: Contender, database: OrderDatabase, count: int) -> Run:
    """The clock starts with the relay."""
    os.kill(service.pids["relay"], signal.SIGSTOP)
    try:
        _write(database, count, CHUNK, 0)
    finally:
        began = _Began(stage, service)
        os.kill(service.pids["relay"], signal.SIGCONT)
    return began.until_fed(count)


def _follow(stage: Stage, service: Contender, database: OrderDatabase, count: int) -> Run:
    """The clock starts with the first order. What the servers use for the writes counts, too."""
    began = _Began(stage, service)
    _write(database, count, round(PACE * TICK), TICK)
    return began.until_fed(count)


class _Began:
    """The beginning of a run."""

    def __init__(self, stage: Stage, service: Contender) -> None:
        self._stage, self._service = stage, service
        self._at, self._used, self._served = time.perf_counter(), *self._cpu_seconds()

    def until_fed(self, count: int) -> Run:
        """Waits until the feed has the events of all orders."""
        database, deadline = self._service.database, time.monotonic() + GIVE_UP_AFTER
        while database.feed.estimated_document_count() < database.orders.estimated_document_count() * EVENTS:
            if time.monotonic() > deadline:
                raise Failed(f"the relay did not feed {count:,} orders in {GIVE_UP_AFTER} s")
            time.sleep(LOOK_EVERY)
        took, (used, served) = time.perf_counter() - self._at, self._cpu_seconds()
        return Run(count / took, (used - self._used) / count * 1e6, (served - self._served) / count * 1e6)

    def _cpu_seconds(self) -> tuple[float, float]:
        relay = self._service.cpu_seconds()
        return relay, self._stage.cpu_seconds(self._service) - relay


def _write(database: OrderDatabase, count: int, at_once: int, tick: float) -> None:
    """Take new orders to confirmed, so many at once, with `tick` seconds between the writes of two groups."""
    store, roads = Orders(database), [_road(order) for order in orders(count)]
    groups = [roads[start : start + at_once] for start in range(0, count, at_once)]
    begin = time.perf_counter()
    for turn in range(len(groups) + len(WRITES)):
        time.sleep(max(0.0, begin + turn * tick - time.perf_counter()))
        if turn < len(groups):
            made = documents_of(road[0] for road in groups[turn])
            database.orders.insert_many(made, ordered=False)
        for number in range(len(WRITES)):
            if 0 <= turn - 1 - number < len(groups):
                pairs = [road[number : number + 2] for road in groups[turn - 1 - number]]
                if store.append_all([(one, two) for one, two in pairs], now() + timedelta(days=1)):
                    raise Failed("another process changed the orders of the benchmark")


def _road(order: Order) -> list[Order]:
    """The order before its first and after each of its writes."""
    road = [order]
    for changes in WRITES:
        road.append(advance(road[-1], now(), "system", changes))
    return road


@contextlib.contextmanager
def _workers(url: str) -> Iterator[None]:
    """Takes every message at once, as workers that are never busy would."""
    ended = threading.Event()

    def take() -> None:
        with redis.Redis.from_url(url) as broker:
            while not ended.wait(LOOK_EVERY):
                broker.delete(*QUEUES)

    taking = threading.Thread(target=take)
    taking.start()
    try:
        yield
    finally:
        ended.set()
        taking.join()
