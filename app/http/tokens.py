"""Verifies bearer tokens (JWT, RFC 7519), and makes them."""

import time
from datetime import timedelta
from functools import lru_cache
from typing import Any

import orjson

from app.errors import Expired, Forged, NotSignedIn
from app.http.access import Caller, caller_of
from app.http.signed import FindKey, Signed, sign

MOST_BYTES = 8 * 1024
INVALID = "The token is not valid."
EXPIRED = "The token has expired."

# Verifying a signature takes about a tenth of the time of a request, and callers repeat their tokens.
_KEPT = 4096
_KEPT_SECONDS = 60


class Tokens:
    """Verifies the tokens of an issuer for an audience; `find_key` finds the issuer's keys by id."""

    def __init__(self, find_key: FindKey, issuer: str, audience: str, leeway: timedelta) -> None:
        self._signed = Signed(find_key, issuer, audience, leeway, ("exp", "iss", "aud", "sub"))
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
            claims = self._signed.claims(token)
            return caller_of(claims), int(claims["exp"])
        except Expired as error:
            raise NotSignedIn(EXPIRED) from error
        except (Forged, ValueError) as error:
            raise NotSignedIn(INVALID) from error


def mint(secret: str, claims: dict[str, Any]) -> str:
    """A token signed with the shared secret."""
    return sign(secret, orjson.dumps(claims))
