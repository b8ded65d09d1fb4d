"""Counting against rate limits on a real Redis: exact under concurrency, harmless and cheap without it."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import redis

from app.http import rates
from app.http.rates import Rates
from tests.end_to_end.service import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.local.servers import Broker

ANN = {"caller": "ann", "address": "192.0.2.1"}


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of what takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def test_of_any_number_of_requests_at_once_exactly_as_many_as_allowed_pass(redis_url: str) -> None:
    limits = Rates(redis_url, {"caller": "100/day"})
    with ThreadPoolExecutor(32) as pool:
        lefts = [quota.left for (quota,) in pool.map(limits.count, [ANN] * 300)]
    assert sorted(lefts, reverse=True) == list(range(99, -201, -1))


def test_processes_that_ask_each_time_count_as_one(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "EXCHANGE_EVERY_SECONDS", 0)
    here, there = (Rates(redis_url, {"caller": "100/day"}) for _ in range(2))
    assert [each.count(ANN)[0].left for each in (here, there, here)] == [99, 98, 97]


def test_processes_together_let_hardly_more_pass_than_the_limit(redis_url: str) -> None:
    """Each hears of the others every tenth of a second, in which it lets about twenty pass here."""
    processes = [Rates(redis_url, {"caller": "100/day"}) for _ in range(3)]

    def passed(process: Rates) -> int:
        pause, seen = threading.Event(), 0
        while process.count(ANN)[0].left >= 0:
            seen += 1
            pause.wait(0.005)
        return seen

    with ThreadPoolExecutor(3) as pool:
        assert 100 <= sum(pool.map(passed, processes)) <= 100 + 2 * 25


def test_each_limit_counts_for_itself_and_for_each_caller(redis_url: str) -> None:
    limits = Rates(redis_url, {"caller": "2/day", "address": "3/day"})
    bob = {**ANN, "caller": "bob"}
    lefts = [[quota.left for quota in limits.count(whom)] for whom in (ANN, ANN, bob, bob)]
    assert lefts == [[1, 2], [0, 1], [1, 0], [0, -1]]
    assert [quota.name for quota in limits.count({"address": "192.0.2.2"})] == ["address"]


def test_the_count_begins_anew_when_it_was_said_to(redis_url: str) -> None:
    limits = Rates(redis_url, {"caller": "1/second"})
    quota = eventually(lambda: next((one for one in limits.count(ANN) if one.left < 0), None), pause=0)
    assert (quota.limit, quota.window, quota.reset) == (1, 1, 1)
    eventually(lambda: limits.count(ANN)[0].left == 0, quota.reset)


def test_without_redis_nothing_is_limited_and_hardly_anyone_waits(silent: str) -> None:
    """Neither where nothing listens, nor, once that has been found out, where something does not answer."""
    for url in ("redis://127.0.0.1:1/0", silent):
        limits = Rates(url, {"caller": "1/day"})
        began = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(limits.count, [ANN] * 400))
        assert [limits.count(ANN) for _ in range(400)] == [[]] * 400
        assert time.monotonic() - began < 4 * rates.PATIENCE_SECONDS


def test_the_limits_hold_again_once_redis_is_back(
    private_broker: Callable[[], Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "REST_SECONDS", 0.3)
    broker = private_broker()
    limits = Rates(broker.url(0), {"caller": "2/day"})
    assert limits.count(ANN)[0].left == 1
    broker.kill()
    eventually(lambda: limits.count(ANN) == [])
    broker.start()
    eventually(lambda: limits.count(ANN))
    eventually(lambda: [quota.left < 0 for quota in limits.count(ANN)] == [True])


def test_counts_are_forgotten_after_their_window(redis_url: str) -> None:
    Rates(redis_url, {"caller": "1/second", "address": "5/minute"}).count(ANN)
    with redis.Redis.from_url(redis_url) as store:
        lives = [store.ttl(key) for key in store.scan_iter()]
    assert len(lives) == 2
    assert {-1} & set(lives) == set()
    assert max(lives) <= 60
