"""Counts requests against the rate limits, in Redis with `limits`. While Redis is down, nothing is limited.

The strategies of `limits` need a round trip to Redis for every request and limit, and more for the headers.
Here every process counts locally and exchanges its counts with Redis ten times a second. So a limit can be
exceeded by the requests that other processes admit within a tenth of a second.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import redis
import structlog
from limits import RateLimitItem, parse
from limits.storage import storage_from_string
from redis.backoff import NoBackoff
from redis.retry import Retry

EXCHANGE_EVERY_SECONDS = 0.1
PATIENCE_SECONDS = 0.25
# The time without calls after Redis failed to answer, so that an outage delays one request in thousands.
REST_SECONDS = 5.0
# The number of callers whose counts a process keeps. A forgotten caller passes until the next exchange.
MOST_KNOWN = 100_000

log = structlog.get_logger(__name__)


class Quota(NamedTuple):
    """The state of a limit for one caller: `left` is below zero beyond the limit, `reset` is in seconds."""

    name: str
    limit: int
    window: int
    left: int
    reset: int


class Rates:
    """The rate limits by name, each in the notation of `limits`, such as `100/minute`."""

    def __init__(self, url: str, limits: Mapping[str, str]) -> None:
        options: Any = {
            "socket_connect_timeout": PATIENCE_SECONDS,
            "socket_timeout": PATIENCE_SECONDS,
            # One retry, because the connection may predate a restart of Redis.
            "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        }
        storage: Any = storage_from_string(url, **options)
        self._redis: redis.Redis = storage.get_connection()
        self._windows = [_Window(name, parse(text)) for name, text in limits.items()]
        self._counting = threading.Lock()
        self._exchanging = threading.Lock()
        self._exchanged_at = -math.inf
        self._resting_until = -math.inf

    def count(self, whom: Mapping[str, str]) -> list[Quota]:
        """Counts a request; `whom` maps the name of each limit to the key that it counts for.

        Returns the current quotas, or nothing while Redis is down.
        """
        now, clock = time.time(), time.monotonic()
        windows = [window for window in self._windows if window.name in whom]
        if not windows or clock < self._resting_until:
            return []
        with self._counting:
            counts = [window.add(whom[window.name], now) for window in windows]
            is_due = clock - self._exchanged_at >= EXCHANGE_EVERY_SECONDS and self._exchanging.acquire(
                blocking=False
            )
            news = [window.take_off() for window in self._windows] if is_due else []
        if is_due:
            try:
                self._exchange(news)
            finally:
                self._exchanging.release()
            if clock < self._resting_until:
                return []
            counts = [window.known.get(whom[window.name], 1) for window in windows]
        return [window.quota(count, now) for window, count in zip(windows, counts, strict=True)]

    def _exchange(self, news: list[tuple[int, Counter[str]]]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for window, (number, added) in zip(self._windows, news, strict=True):
            for who, times in added.items():
                key = window.limit.key_for(window.name, who, str(number))
                pipeline.incrby(key, times)
                pipeline.expire(key, window.seconds)
        try:
            totals = iter(pipeline.execute()[::2])
        except redis.RedisError as error:
            self._resting_until = time.monotonic() + REST_SECONDS
            log.warning("rates are not limited", reason=type(error).__name__, seconds=REST_SECONDS)
            totals = iter(())
        with self._counting:
            for window, (number, added) in zip(self._windows, news, strict=True):
                window.land(number, dict(zip(added, totals, strict=False)))
        self._exchanged_at = time.monotonic()


class _Window:
    """The counts of a process in the current window of one limit. Windows start at fixed times.

    A caller's count is the total from Redis, the counts being sent to Redis, and the counts since then.
    """

    def __init__(self, name: str, limit: RateLimitItem) -> None:
        self.name = name
        self.limit = limit
        self.seconds = limit.get_expiry()
        self._begin(-1)

    def _begin(self, number: int) -> None:
        self._number = number
        self.known: dict[str, int] = {}
        self._flying: Counter[str] = Counter()
        self._fresh: Counter[str] = Counter()

    def add(self, who: str, now: float) -> int:
        """Adds one request and returns the count."""
        number = int(now // self.seconds)
        if number != self._number:
            self._begin(number)
        self._fresh[who] += 1
        return self.known.get(who, 0) + self._flying[who] + self._fresh[who]

    def take_off(self) -> tuple[int, Counter[str]]:
        """The window's number and the counts to send, which are in flight from now on."""
        self._flying, self._fresh = self._fresh, Counter()
        return self._number, self._flying

    def land(self, number: int, totals: Mapping[str, int]) -> None:
        """Stores the totals from Redis for the counts that were sent."""
        if number == self._number:
            if len(self.known) > MOST_KNOWN:
                self.known.clear()
            self.known.update(totals)
            self._flying = Counter()

    def quota(self, count: int, now: float) -> Quota:
        """The quota at this count."""
        reset = math.ceil(self.seconds - now % self.seconds)
        return Quota(self.name, self.limit.amount, self.seconds, self.limit.amount - count, reset)
