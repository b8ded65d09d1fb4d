"""The public keys of an issuer, from its JWK set. They stay valid while the issuer is unreachable.

Any caller can name a key that does not exist, which triggers a fetch. Fetches are limited in frequency, run
one at a time, and do not delay callers with known keys.
"""

import ssl
import threading
import time
from collections.abc import Callable
from functools import cached_property

import httpcore
import orjson
import structlog

from app.errors import IssuerUnavailable
from app.http.guard import Deadline, GuardedBackend, Unresolvable, resolve
from app.keys import Key, of_jwk

# The set is fetched again after this time, so that withdrawn keys stop working.
_LIFETIME = 300.0
_PAUSE = 5.0
_SECONDS = 5.0
_MOST_READ = 512 * 1024
_OK = 200

log = structlog.get_logger()


class IssuerKeys:
    """The keys of a JWK set by `kid`. `pause` is the minimum time between two fetches, in seconds."""

    def __init__(self, url: str, *, pause: float = _PAUSE, now: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._pause = pause
        self._now = now
        self._keys: dict[str | None, Key] = {}
        self._stale_at = self._next_fetch = float("-inf")
        self._lock = threading.Lock()
        self._flight: threading.Thread | None = None

    def find(self, kid: str | None) -> Key | None:
        """The key with this id; without an id, the only key. Raises IssuerUnavailable without any keys."""
        key = self._known(kid)
        if key and self._now() < self._stale_at:
            return key
        flight = self._fetching()
        if key:
            return key
        if flight:
            flight.join(_SECONDS)
        if not self._keys:
            raise IssuerUnavailable("The issuer's keys cannot be fetched at the moment.")
        return self._known(kid)

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        return httpcore.default_ssl_context()

    def _known(self, kid: str | None) -> Key | None:
        keys = self._keys
        if kid is None and len(keys) == 1:
            return next(iter(keys.values()))
        return keys.get(kid)

    def _fetching(self) -> threading.Thread | None:
        """The running fetch, or a new one if one is allowed now; else None."""
        with self._lock:
            if self._flight and self._flight.is_alive():
                return self._flight
            now = self._now()
            if now < self._next_fetch:
                return None
            self._next_fetch = now + self._pause
            self._flight = threading.Thread(target=self._fetch, name="jwks", daemon=True)
            self._flight.start()
            return self._flight

    def _fetch(self) -> None:
        try:
            keys = _keys_in(self._read())
        except (
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            Unresolvable,
            ValueError,
        ) as error:
            log.warning("issuer's keys not fetched", fault=type(error).__name__, keys=len(self._keys))
            return
        self._keys, self._stale_at = keys, self._now() + _LIFETIME
        log.info("issuer's keys fetched", keys=len(keys))

    def _read(self) -> bytes:
        url = httpcore.URL(self._url)
        backend = GuardedBackend(Deadline(_SECONDS), resolve, allow_private=True)
        secure = self._trusted if url.scheme == b"https" else None
        # The operator configures the URL, so redirects are unnecessary. They are not followed.
        with (
            httpcore.HTTPConnection(url.origin, ssl_context=secure, network_backend=backend) as connection,
            connection.stream("GET", url, headers=_headers(url)) as response,
        ):
            read = bytearray()
            for chunk in response.iter_stream():
                read += chunk
                if len(read) > _MOST_READ:
                    raise ValueError("the answer is too long")
            if response.status != _OK:
                raise ValueError("the answer is not a success")
            return bytes(read)


def _headers(url: httpcore.URL) -> list[tuple[bytes, bytes]]:
    host, port = url.host, b":%d" % url.port if url.port else b""
    return [
        (b"Host", host + port),
        (b"User-Agent", b"order-service"),
        (b"Accept", b"application/jwk-set+json, application/json"),
        (b"Connection", b"close"),
    ]


def _keys_in(text: bytes) -> dict[str | None, Key]:
    """The keys of a JWK set that verify signatures. Other keys are skipped (RFC 7517, section 5).

    Raises ValueError if none is left.
    """
    jwks = orjson.loads(text)
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a JWK set")
    found: dict[str | None, Key] = {}
    for jwk in listed:
        try:
            found[jwk.get("kid")] = of_jwk(jwk)
        except (ValueError, TypeError, AttributeError) as error:
            log.info("key skipped", fault=str(error))
    if not found:
        raise ValueError("no keys")
    return found
