"""The clock that all processes share: the database's, by its heartbeats."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import structlog

from app.clock import now
from app.errors import DatabaseUnavailable
from app.mongo.database import connect
from app.mongo.heartbeats import heartbeats_of
from app.mongo.server_clock import ServerClock
from tests.support.doubles import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.servers import MongoServer

pytestmark = pytest.mark.slow

HOUR = 3600.0
NEAR = timedelta(seconds=2)


def test_it_gives_the_database_s_time_whatever_this_machine_s_clock_says(mongo_server: MongoServer) -> None:
    """And says how far that one is off, once."""
    skews = list[float]()
    database = connect(mongo_server.uri("clock"))
    heartbeats = heartbeats_of(database)
    heartbeats.machine_clock = lambda: time.time() - HOUR
    with database.client, structlog.testing.capture_logs() as lines:
        clock = ServerClock(database, skews.append)
        shown = clock()
        assert abs(shown - now()) < NEAR
        assert shown.microsecond % 1000 == 0
        eventually(lambda: len(skews) >= 3)
        assert all(abs(skew + HOUR) < 2 for skew in skews)
        heartbeats.machine_clock = time.time
        eventually(lambda: abs(skews[-1]) < 1)
    wrong, right = (line for line in lines if "clock" in line["event"])
    assert (wrong["log_level"], round(wrong["skew"] / HOUR)) == ("warning", -1)
    assert (right["log_level"], round(right["skew"])) == ("info", 0)


def test_it_goes_on_without_the_database_and_never_begins_without_it(
    private_mongo: Callable[[], MongoServer],
) -> None:
    mongo = private_mongo()
    reached = connect(mongo.uri("clock"))
    with reached.client:
        clock = ServerClock(reached, lambda _: None)
        clock()
        mongo.stop()
        before = clock()
        time.sleep(0.05)
        assert timedelta() < clock() - before < NEAR
        assert abs(clock() - now()) < NEAR
    unreached = connect(mongo.uri("clock"))
    with unreached.client, pytest.raises(DatabaseUnavailable):
        ServerClock(unreached, lambda _: None)()
