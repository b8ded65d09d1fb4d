"""What the broker tells of the background processes: whether it is there, what waits in it, who works."""

import threading
import time
from collections.abc import Mapping

import redis

from app.waiting import Waiting

QUEUES = ("payments", "stock", "notifications", "maintenance")
# The processes of which one works and others stand by.
LEASED = ("relay", "beat")
# Seconds: how often a process looks whether the broker is there, and how long it waits for the answer.
_WATCHING = 1.0
_PATIENCE = 2.0


def lease_key(name: str) -> str:
    """The name of a lease in the broker."""
    return f"lease:{name}"


class Broker:
    """Asks with little patience, since those who ask can do without."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=0.5)

    def answers(self) -> bool:
        """Whether it answers now."""
        try:
            return bool(self._client.ping())
        except redis.RedisError:
            return False

    def waiting(self) -> Mapping[str, int]:
        """How many messages wait in each queue; nothing where it does not answer."""
        return self._ask("llen", QUEUES, QUEUES)

    def leases(self) -> Mapping[str, int]:
        """1 for each role of which a process works, 0 for the others; nothing where it does not answer."""
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
    """Has a thread say, for as long as the process lives, that the broker is missing, and when it is back."""
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
