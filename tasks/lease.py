"""A lease in Redis, by which one of several processes works while the others stand by."""

import redis
from redis.exceptions import RedisError

from app.gateways.broker import lease_key

_SECONDS = 10.0


class Lease:
    """Held for ten seconds at a time; whoever dies with it, or loses Redis, holds up the others no longer."""

    def __init__(self, redis_url: str, name: str) -> None:
        client = redis.Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=2)
        self._lock = client.lock(lease_key(name), timeout=_SECONDS, blocking=False, thread_local=False)

    def hold(self) -> bool:
        """Takes the lease or renews it; False while another holds it, or Redis is down."""
        try:
            if self._lock.owned():
                return bool(self._lock.reacquire())
            return self._lock.acquire()
        except RedisError:
            return False

    def release(self) -> None:
        """Lets the next one have it at once."""
        try:
            self._lock.release()
        except RedisError:
            return
