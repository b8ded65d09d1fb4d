"""Verifies bearer tokens (JWT, RFC 7519). Every key has one algorithm.

So no token can choose how it is verified.
"""

import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any

import jwt
import orjson

from app.errors import NotSignedIn
from app.http.access import Caller, caller_of
from app.keys import Key, of_secret

MOST_BYTES = 8 * 1024
INVALID = "The token is not valid."
EXPIRED = "The token has expired."

# Verifying a signature takes about a tenth of the time of a request, and callers repeat their tokens.
_KEPT = 4096
_KEPT_SECONDS = 60

FindKey = Callable[[str | None], Key | None]


class Tokens:
    """Verifies the tokens of an issuer for an audience; `find_key` finds the issuer's keys by id."""

    def __init__(self, find_key: FindKey, issuer: str, audience: str, leeway: timedelta) -> None:
        self._find_key = find_key
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway.total_seconds()
        self._kept = lru_cache(_KEPT)(self._verify)

    def caller(self, token: str) -> Caller:
        """The caller that the token identifies. Raises NotSignedIn, IssuerUnavailable."""
        if len(token) > MOST_BYTES:
            raise NotSignedIn(INVALID)
        now = time.time()
        # Every token is verified again each minute, so that a withdrawn key invalidates its tokens.
        caller, expires = self._kept(token, now // _KEPT_SECONDS)
        if now >= expires + self._leeway:
            raise NotSignedIn(EXPIRED)
        return caller

    def _verify(self, token: str, _minute: float) -> tuple[Caller, int]:
        """The caller and the token's expiry, in seconds since 1970."""
        try:
            key = self._find_key(_key_id(token))
            if key is None:
                raise NotSignedIn(INVALID)
            claims = jwt.decode(
                token,
                key.key,
                [key.algorithm],
                options={"require": ["exp", "iss", "aud", "sub"]},
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
            )
            return caller_of(claims), int(claims["exp"])
        except jwt.ExpiredSignatureError as error:
            raise NotSignedIn(EXPIRED) from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise NotSignedIn(INVALID) from error


def _key_id(token: str) -> str | None:
    """The key id in the token's header. Raises ValueError."""
    # PyJWT would decode the whole token for this, which takes as long as verifying an RSA signature.
    header = orjson.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))
    kid = header.get("kid") if isinstance(header, dict) else None
    if not isinstance(kid, str | None):
        raise ValueError("kid is not a string")
    return kid


def mint(secret: str, claims: dict[str, Any]) -> str:
    """A token signed with the shared secret."""
    return jwt.encode(claims, secret, of_secret(secret).algorithm)
