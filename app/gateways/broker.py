"""What the broker tells of the background processes: whether it is there, what waits in it, who works."""

from collections.abc import Mapping

import redis

QUEUES = ("payments", "stock", "notifications", "maintenance")
# The processes of which one works and others stand by.
LEASED = ("relay", "beat")


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
