"""Counts requests against the rate limits, in Redis by `limits`; without Redis, nothing is limited.

limits' own strategies take a round trip to Redis for each request and limit, and more for the headers. Here a
process counts by itself, tells Redis ten times a second what came, and hears what came elsewhere; so a limit
may be overshot by what other processes let pass in a tenth of a second.
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

TELL_EVERY_SECONDS = 0.1
PATIENCE_SECONDS = 0.25
# How long nobody asks a Redis that did not answer, so that its outage delays one request in thousands.
REST_SECONDS = 5.0
# Of how many callers a process keeps in mind what it heard; one that it forgets passes until it asks again.
MOST_KNOWN = 100_000

log = structlog.get_logger(__name__)


class Quota(NamedTuple):
    """How one stands against a limit: `left` is below zero where he is over it, `reset` in seconds."""

    name: str
    limit: int
    window: int
    left: int
    reset: int


class Rates:
    """The limits by their names, each in the notation of `limits`, such as `100/minute`."""

    def __init__(self, url: str, limits: Mapping[str, str]) -> None:
        options: Any = {
            "socket_connect_timeout": PATIENCE_SECONDS,
            "socket_timeout": PATIENCE_SECONDS,
            # Once more, since the connection may be of before a restart.
            "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        }
        storage: Any = storage_from_string(url, **options)
        self._redis: redis.Redis = storage.get_connection()
        self._windows = [_Window(name, parse(text)) for name, text in limits.items()]
        self._counting = threading.Lock()
        self._telling = threading.Lock()
        self._told_at = -math.inf
        self._resting_until = -math.inf

    def count(self, whom: Mapping[str, str]) -> list[Quota]:
        """Counts a request under these limits, for each of them the one whom it is counted to.

        Gives how he stands now, or nothing while Redis cannot be asked.
        """
        now, clock = time.time(), time.monotonic()
        windows = [window for window in self._windows if window.name in whom]
        if not windows or clock < self._resting_until:
            return []
        with self._counting:
            counts = [window.add(whom[window.name], now) for window in windows]
            tells = clock - self._told_at >= TELL_EVERY_SECONDS and self._telling.acquire(blocking=False)
            news = [window.take_off() for window in self._windows] if tells else []
        if tells:
            try:
                self._tell(news)
            finally:
                self._telling.release()
            if clock < self._resting_until:
                return []
            counts = [window.known.get(whom[window.name], 1) for window in windows]
        return [window.quota(count, now) for window, count in zip(windows, counts, strict=True)]

    def _tell(self, news: list[tuple[int, Counter[str]]]) -> None:
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
        self._told_at = time.monotonic()


class _Window:
    """What a process knows of the present window of one limit; windows begin by the clock.

    The count of one is what Redis told of him, what is on the way there, and what came since.
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
        """Counts one more, and gives the count."""
        number = int(now // self.seconds)
        if number != self._number:
            self._begin(number)
        self._fresh[who] += 1
        return self.known.get(who, 0) + self._flying[who] + self._fresh[who]

    def take_off(self) -> tuple[int, Counter[str]]:
        """The window's number, and what is to be told of it."""
        self._flying, self._fresh = self._fresh, Counter()
        return self._number, self._flying

    def land(self, number: int, totals: Mapping[str, int]) -> None:
        """Takes in what Redis says of what was told."""
        if number == self._number:
            if len(self.known) > MOST_KNOWN:
                self.known.clear()
            self.known.update(totals)
            self._flying = Counter()

    def quota(self, count: int, now: float) -> Quota:
        """What a count leaves."""
        reset = math.ceil(self.seconds - now % self.seconds)
        return Quota(self.name, self.limit.amount, self.seconds, self.limit.amount - count, reset)
