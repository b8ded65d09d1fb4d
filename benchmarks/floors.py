"""The floor under every figure: what the driver and the database do with nothing in between.

As many clients as the service has connections, in as many processes as the service has, each a closed loop.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import MongoClient

from benchmarks.documents import again

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.collection import Collection

DATABASE = "floor"
START_UP = 1.5

Document = dict[str, Any]


class Floor(NamedTuple):
    """Documents per second, and the latency of one call in milliseconds."""

    rate: float
    p50: float
    p99: float


def inserts(
    uri: str, document: Document, clients: int, seconds: float, processes: int, batch: int = 1
) -> Floor:
    """Durable inserts of copies of the document, one by one or in batches."""
    return _hammered(_insert, (uri, document, batch), clients, seconds, processes, batch)


def finds(uri: str, document: Document, clients: int, seconds: float, processes: int) -> Floor:
    """Finds by `_id` among 1,000 copies of the document."""
    return _hammered(_find, (uri, document), clients, seconds, processes, 1)


def _hammered(
    call: Callable[..., Any],
    arguments: tuple[Any, ...],
    clients: int,
    seconds: float,
    processes: int,
    batch: int,
) -> Floor:
    begin = time.time() + START_UP
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        shares = [
            pool.submit(_closed_loops, call, arguments, clients // processes, begin, seconds)
            for _ in range(processes)
        ]
        took = sorted(one for share in shares for one in share.result())
    cut = statistics.quantiles(took, n=100, method="inclusive")
    return Floor(len(took) * batch / seconds, cut[49] * 1e3, cut[98] * 1e3)


def _closed_loops(
    call: Callable[..., Any], arguments: tuple[Any, ...], threads: int, begin: float, seconds: float
) -> list[float]:
    uri, *rest = arguments
    with (
        MongoClient[Document](uri, w="majority", journal=True) as client,
        ThreadPoolExecutor(threads) as pool,
    ):
        once = call(client[DATABASE].orders, *rest)
        loops = [pool.submit(_closed_loop, once, begin, seconds) for _ in range(threads)]
        return [one for loop in loops for one in loop.result()]


def _closed_loop(once: Callable[[], object], begin: float, seconds: float) -> list[float]:
    once()
    time.sleep(max(0.0, begin - time.time()))
    took, now = [], time.perf_counter()
    end = now + seconds
    while now < end:
        once()
        before, now = now, time.perf_counter()
        took.append(now - before)
    return took


def _insert(orders: Collection[Document], document: Document, batch: int) -> Callable[[], object]:
    if batch == 1:
        return lambda: orders.insert_one(again(document))
    return lambda: orders.insert_many([again(document) for _ in range(batch)], ordered=False)


def _find(orders: Collection[Document], document: Document) -> Callable[[], object]:
    documents = [again(document) for _ in range(1000)]
    orders.insert_many(documents)
    ids = [one["_id"] for one in documents]
    turn = iter(range(10**9))
    return lambda: orders.find_one({"_id": ids[next(turn) % len(ids)]})
