"""Signs webhooks (Standard Webhooks 1.0) and posts them to endpoints."""

import secrets
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import httpcore
import orjson
from gevent import Timeout
from standardwebhooks import Webhook

from app.http.guard import Deadline, GuardedBackend, PrivateAddress, Resolve, Unresolvable, is_public, resolve
from app.webhooks.model import Answer, Target, target_of

_SECONDS = 15.0
_LOOKUP_SECONDS = 2.0
# The sender reads an answer's body up to this size, to see that it ends in time. It ignores the content.
_MOST_READ = 256 * 1024
_SECRET_BYTES = 32

_ERRORS: dict[type[Exception], str] = {
    PrivateAddress: "private_address",
    Unresolvable: "unresolvable",
    httpcore.TimeoutException: "timeout",
    httpcore.NetworkError: "unreachable",
    httpcore.ProtocolError: "bad_answer",
}


def new_secret() -> str:
    """A new secret in the form that receivers use: `whsec_…`."""
    return f"whsec_{b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


class WebhookSender:
    """Posts to public addresses, or to any address if `allow_private`. `seconds` limits a whole send."""

    def __init__(self, *, allow_private: bool, resolve: Resolve = resolve, seconds: float = _SECONDS) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._seconds = seconds

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        return httpcore.default_ssl_context()

    def fault_of(self, url: str) -> str | None:
        """The reason why webhooks cannot be sent to the URL; None if they can, or if the name lookup is slow
        or fails.

        Each send checks the address again, so the caller does not have to wait for a slow lookup.
        """
        target = target_of(url)
        if target is None:
            return "must be a URL that webhooks can be sent to"
        if self._allow_private:
            return None
        try:
            with Timeout(_LOOKUP_SECONDS, TimeoutError):
                addresses = self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            return None
        return None if all(map(is_public, addresses)) else "must resolve to public addresses only"

    def send(
        self,
        url: str,
        signing: Sequence[str],
        message_id: str,
        at: datetime,
        message: Mapping[str, Any],
        traceparent: str | None = None,
    ) -> Answer:
        """Posts the message, signed with each secret at the given time. Expected failures are in the
        answer."""
        target = target_of(url)
        if target is None:
            return Answer(None, "bad_url")
        body = orjson.dumps(message)
        try:
            headers = _headers(target, signing, message_id, at, body)
            if traceparent:
                headers["traceparent"] = traceparent
            return self._post(target, headers, body)
        except tuple(_ERRORS) as error:
            if isinstance(error.__cause__, ssl.SSLError):
                return Answer(None, "untrusted")
            return Answer(None, next(word for kind, word in _ERRORS.items() if isinstance(error, kind)))

    def _post(self, target: Target, headers: Mapping[bytes | str, bytes | str], body: bytes) -> Answer:
        deadline = Deadline(self._seconds)
        backend = GuardedBackend(deadline, self._resolve, allow_private=self._allow_private)
        url = httpcore.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path.encode()
        )
        # Each webhook has a new connection. A receiver may close a kept connection at any moment, and for a
        # POST that looks the same as a receiver that crashed.
        with (
            httpcore.HTTPConnection(
                url.origin,
                ssl_context=self._trusted if target.scheme == "https" else None,
                network_backend=backend,
            ) as connection,
            connection.stream("POST", url, headers=headers, content=body) as response,
        ):
            read = 0
            for chunk in response.iter_stream():
                read += len(chunk)
                if read > _MOST_READ:
                    break
            found = {name.lower(): value for name, value in response.headers}
            retry_after = found.get(b"retry-after")
            return Answer(response.status, retry_after=retry_after.decode("latin-1") if retry_after else None)


def _headers(
    target: Target, signing: Sequence[str], message_id: str, at: datetime, body: bytes
) -> dict[bytes | str, bytes | str]:
    signatures = [Webhook(secret).sign(message_id, at, body.decode()) for secret in signing]
    return {
        "Host": target.authority,
        "User-Agent": "order-service",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
