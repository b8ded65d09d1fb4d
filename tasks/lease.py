"""A lease in Redis, so that one of several processes works while the others stand by."""

import os
import socket
import threading
import time
from secrets import token_hex

import redis
import structlog
from redis.exceptions import RedisError

from app.broker import lease_key

log = structlog.get_logger()

# Seconds: how long the lease outlives its holder, how often a thread renews it, how often a standby process
# asks for it, and how long the holder may be silent before the thread stops renewing.
SECONDS = 1.5
_RENEWAL = 0.3
STANDBY = 0.2
PATIENCE = 10.0


class Lease:
    """A thread renews the lease, so that a busy holder keeps it. It ends `SECONDS` after its holder's death.

    The holder calls `hold` again and again. A holder that hangs stops calling and loses the lease after
    `PATIENCE` seconds. A process that was paused may believe for a moment that it still holds the lease.
    """

    def __init__(self, redis_url: str, name: str) -> None:
        self._client = redis.Redis.from_url(redis_url, socket_connect_timeout=SECONDS, socket_timeout=SECONDS)
        self._name = name
        self._lock = self._client.lock(lease_key(name), timeout=SECONDS, blocking=False, thread_local=False)
        self._asking = threading.Lock()
        self._good_until = self._last_seen = 0.0
        self._renewing: threading.Thread | None = None

    def hold(self) -> bool:
        """Whether this process holds the lease; takes it if it is free.

        False while another process holds it or Redis is down. Sends no request while it is held.
        """
        self._last_seen = time.monotonic()
        if self._last_seen < self._good_until:
            return True
        with self._asking:
            # The token shows an operator which process holds the lease.
            token = f"{socket.gethostname()}:{os.getpid()}:{token_hex(8)}"
            asked = time.monotonic()
            try:
                if not self._lock.acquire(token=token):
                    return False
            except RedisError:
                return False
            self._good_until = asked + SECONDS
        if self._renewing is None or not self._renewing.is_alive():
            self._renewing = threading.Thread(target=self._renew, name=f"lease-{self._name}", daemon=True)
            self._renewing.start()
        return True

    def holder(self) -> str | None:
        """The host and process id of the holder; None if the lease is free or Redis is down."""
        try:
            token = self._client.get(lease_key(self._name))
        except RedisError:
            return None
        return token.decode().rpartition(":")[0] if isinstance(token, bytes) else None

    def release(self) -> None:
        """Frees the lease at once for the next process."""
        with self._asking:
            self._good_until = 0.0
            try:
                self._lock.release()
            except RedisError:
                return

    def _renew(self) -> None:
        while time.monotonic() < self._good_until:
            time.sleep(_RENEWAL)
            if time.monotonic() - self._last_seen > PATIENCE:
                log.error("lease is not renewed, its holder gives no sign of life", role=self._name)
                return
            with self._asking:
                if self._good_until:
                    self._renew_once()

    def _renew_once(self) -> None:
        asked = time.monotonic()
        try:
            self._lock.reacquire()
        except redis.exceptions.LockError:
            self._good_until = 0.0
        except RedisError:
            # Perhaps the next attempt reaches Redis before the lease ends.
            return
        else:
            self._good_until = asked + SECONDS
