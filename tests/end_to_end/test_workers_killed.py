"""A worker may die at any moment: another one finds the work that is still due, and does it."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.servers import MongoServer
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

KILLS, ORDERS, PRODUCTS = 20, 500, 2
# How far an order of the wave must have come for the worker to be killed: each step is hit in turn.
MOMENTS = (
    {"payment__status": {"$ne": "pending"}},
    {"stock__status": {"$ne": "pending"}},
    {"status": {"$ne": "pending"}},
    {"announced": {"$gt": 1}},
)


def test_orders_are_done_once_though_workers_are_killed_twenty_times(
    serve: ServiceStarter, private_mongo: Callable[[], MongoServer]
) -> None:
    """By turns the whole worker and one of its processes, while 500 orders are on their way.

    Some orders are slow to pay, so that there is a batch in the hands of a worker when it dies. Each wave has
    products of its own: what a dead worker has locked holds up its own wave, and no later one.
    """
    service = serve(mongo_uri=private_mongo().uri("orders"))
    for kill in range(KILLS):
        for product in _products(kill):
            service.set_stock(product, ORDERS)
    ids: list[str] = []
    cut_off = 0
    for kill in range(KILLS):
        wave = service.place_all(_wave(kill, ORDERS // KILLS), clients=4)
        ids += wave
        eventually(lambda wave=wave, kill=kill: service.count(wave, **MOMENTS[kill // 2 % len(MOMENTS)]))
        if kill % 2:
            children = eventually(service.pool_children)
            os.kill(random.choice(children), signal.SIGKILL)
            continue
        service.stack.kill("worker")
        cut_off += service.count(wave, dueBy={"$exists": True}) > 0
        service.stack.start("worker")

    service.end_transactions()
    service.come_to_rest(ids, timeout=90)
    assert cut_off >= KILLS // 4, "most of the workers had nothing to do when they were killed"
    assert len(ids) == ORDERS
    assert service.count(ids, status="confirmed") == ORDERS
    assert _on_hand(service) == KILLS * PRODUCTS * ORDERS - PRODUCTS * ORDERS
    assert books.faults(service, ids) == []
    assert service.broken_chains(ids[::10]) == []
    promises = service.http.get("/promises").json()
    assert [promises[name] for name in ("accepted", "lost", "doubled", "unreadable")] == [ORDERS, 0, 0, 0]
    assert promises["confirmed"]["orders"] == ORDERS


def _wave(number: int, size: int) -> list[dict[str, object]]:
    lines = [{"productId": product, "quantity": 1} for product in _products(number)]
    slow = {"paymentMethod": "sandbox_slow"} if number % 4 == 0 else {}
    return [{**draft(**slow if at == 0 else {}), "products": lines} for at in range(size)]


def _on_hand(service: Service) -> int:
    return sum(service.on_hand(product) for kill in range(KILLS) for product in _products(kill))


def _products(wave: int) -> list[str]:
    return [f"product-{wave}-{number}" for number in range(PRODUCTS)]
