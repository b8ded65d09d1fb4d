"""Logs that a process waits for a server: at once, every half minute, and when the server answers."""

import time
from urllib.parse import urlsplit

import structlog

log = structlog.get_logger()

REMINDER = 30.0


class Waiting:
    """One server that a process waits for. `address` is its URL, logged without user and password."""

    def __init__(self, server: str, address: str) -> None:
        self._fields = {"server": server, "address": without_credentials(address)}
        self._since: float | None = None
        self._said = 0.0

    def missing(self, reason: str) -> None:
        """Call this when the server does not answer."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._said < REMINDER:
            return
        self._said = now
        log.warning("waiting for a server", **self._fields, reason=reason, seconds=round(now - self._since))

    def there(self) -> None:
        """Call this when the server answers."""
        if self._since is not None:
            seconds = round(time.monotonic() - self._since, 1)
            log.info("the server answers again", **self._fields, seconds=seconds)
        self._since = None


def without_credentials(url: str) -> str:
    """The URL without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
