"""The state of the broker: whether it answers, how many messages wait, which roles work."""

import threading
import time
from collections.abc import Mapping

import redis

from app.waiting import Waiting

QUEUES = ("payments", "stock", "notifications", "maintenance")
# The roles of which one process works and others stand by.
LEASED = ("relay", "beat")
# Seconds: how often a process checks the broker, and how long it waits for the answer.
_WATCHING = 1.0
_PATIENCE = 2.0


def lease_key(name: str) -> str:
    """The key of a lease in the broker."""
    return f"lease:{name}"


class Broker:
    """Queries with short timeouts, since every caller can do without the answer."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=0.5)

    def answers(self) -> bool:
        """Whether the broker answers now."""
        try:
            return bool(self._client.ping())
        except redis.RedisError:
            return False

    def waiting(self) -> Mapping[str, int]:
        """The number of messages that wait in each queue; empty if the broker does not answer."""
        return self._ask("llen", QUEUES, QUEUES)

    def leases(self) -> Mapping[str, int]:
        """1 for each role with a working process, 0 for the others; empty if the broker does not answer."""
        return self._ask("exists", LEASED, tuple(map(lease_key, LEASED)))

    def _ask(self, command: str, names: tuple[str, ...], keys: tuple[str, ...]) -> Mapping[str, int]:
        try:
            with self._client.pipeline(transaction=False) as asked:
                for key in keys:
                    getattr(asked, command)(key)
                return dict(zip(names, asked.execute(), strict=True))
        except redis.RedisError:
            return {}


def watch(url: str) -> None:
    """Starts a thread that logs when the broker does not answer, and when it answers again."""
    threading.Thread(target=_watch, args=(url,), name="broker-watch", daemon=True).start()


def _watch(url: str) -> None:
    client = redis.Redis.from_url(url, socket_connect_timeout=_PATIENCE, socket_timeout=_PATIENCE)
    waiting = Waiting("broker", url)
    while True:
        try:
            client.ping()
        except redis.RedisError as fault:
            waiting.missing(type(fault).__name__)
        else:
            waiting.there()
        time.sleep(_WATCHING)
