"""Counts requests against the rate limits, in Redis by `limits`; without Redis, nothing is limited.

Windows begin by the clock, so that none has to be asked when it ends. limits' own strategies take a round
trip for the count of each limit and two more for the headers' figures; here concurrent requests share one.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redis
import structlog
from limits import parse
from limits.storage import storage_from_string
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.storage.gathering import Gather

PATIENCE_SECONDS = 0.25
# How long nobody asks a Redis that did not answer, so that its outage delays one request in thousands.
REST_SECONDS = 5.0

# A key, and the seconds after which nobody asks for it any more.
Asked = tuple[tuple[str, int], ...]

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
        self._limits = {name: parse(text) for name, text in limits.items()}
        options: Any = {
            "socket_connect_timeout": PATIENCE_SECONDS,
            "socket_timeout": PATIENCE_SECONDS,
            # Once more, since a connection from the pool may be of before a restart.
            "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        }
        storage: Any = storage_from_string(url, **options)
        self._redis: redis.Redis = storage.get_connection()
        self._gather: Gather[Asked, tuple[int, ...]] = Gather(self._count, interrupted=redis.ConnectionError)
        self._resting_until = 0.0

    def count(self, whom: Mapping[str, str]) -> list[Quota]:
        """Counts a request under these limits, for each of them the one whom it is counted to.

        Gives how he stands now, or nothing while Redis cannot be asked.
        """
        now = time.time()
        counted = [(name, limit, limit.get_expiry()) for name, limit in self._limits.items() if name in whom]
        asked = tuple(
            (limit.key_for(name, whom[name], str(int(now // window))), window)
            for name, limit, window in counted
        )
        if not asked or time.monotonic() < self._resting_until:
            return []
        try:
            counts = self._gather(asked)
        except redis.RedisError:
            return []
        return [
            Quota(name, limit.amount, window, limit.amount - count, math.ceil(window - now % window))
            for (name, limit, window), count in zip(counted, counts, strict=True)
        ]

    def _count(self, batch: Sequence[Asked]) -> list[tuple[int, ...]]:
        """The counts of each, as if they had come one after the other."""
        if time.monotonic() < self._resting_until:
            raise redis.ConnectionError("resting")
        added = Counter(one for asked in batch for one in asked)
        pipeline = self._redis.pipeline(transaction=False)
        for (key, seconds), number in added.items():
            pipeline.incrby(key, number)
            pipeline.expire(key, seconds)
        try:
            totals = pipeline.execute()[::2]
        except redis.RedisError as error:
            self._resting_until = time.monotonic() + REST_SECONDS
            log.warning("rates are not limited", reason=type(error).__name__, seconds=REST_SECONDS)
            raise
        counts = {one: total - added[one] for one, total in zip(added, totals, strict=True)}
        answers = []
        for asked in batch:
            for one in asked:
                counts[one] += 1
            answers.append(tuple(counts[one] for one in asked))
        return answers
