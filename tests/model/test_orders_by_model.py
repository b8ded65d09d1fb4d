"""Random lives of several orders, checked after every step by a model that knows the contract alone.

They are the same each time. With CONFORMANCE_SECONDS=600 they go on for so long, and are others every time. A
failure names its seed. MODEL_SEED and MODEL_RUNS choose the seed and the number of lives.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from app import schema
from app.config import Settings
from app.mongo import database as mongodb
from app.reconciliation import run as reconciling
from tests.model.machine import OrderMachine
from tests.model.world import World
from tests.support.amid_writes import AmidWrites
from tests.support.payment_events import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.servers import MongoServer

RUNS = int(os.environ.get("MODEL_RUNS", "500"))
SECONDS = int(os.environ.get("CONFORMANCE_SECONDS", "0"))
SEED = int(os.environ.get("MODEL_SEED", time.time() if SECONDS else 1))
RUN = settings(
    max_examples=RUNS,
    stateful_step_count=12,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def world(mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The service over a database of its own."""
    settings = Settings.from_env(
        {"AUTH": "off", "REDIS_URL": "redis://127.0.0.1:1/0", "PAYMENT_WEBHOOK_SECRET": SECRET}
    )
    amid = AmidWrites()
    other = mongodb.connect(mongo_server.uri("model"))
    with monkeypatch.context() as patch:
        patch.setattr(mongodb, "Heartbeats", lambda: amid)
        watched = mongodb.connect(mongo_server.uri("model"))
    schema.apply(other)
    # Nobody reads a million lines.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    monkeypatch.setattr(reconciling, "GRACE", 0)
    yield World(watched, other, settings, amid)
    structlog.reset_defaults()
    for database in (watched, other):
        database.client.close()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 900)
def test_every_life_of_orders_keeps_the_promises(world: World) -> None:
    OrderMachine.world = world
    until, number = time.monotonic() + SECONDS, SEED
    while True:
        try:
            run_state_machine_as_test(seed(number)(OrderMachine), settings=RUN)
        except BaseException as error:
            error.add_note(f"To see it again: MODEL_SEED={number}")
            raise
        if time.monotonic() >= until:
            return
        number += 1
