"""Verifies signed claims: tokens (JWT, RFC 7519) and quotes (JWS, RFC 7515). Every key has one algorithm.

So no text can choose how it is verified.
"""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import jwt
import orjson

from app.errors import Expired, Forged
from app.http.json_body import parse
from app.http.problems import Problem
from app.keys import Key, of_secret

FindKey = Callable[[str | None], Key | None]


class Signed:
    """Verifies the texts of an issuer for an audience; `find_key` finds the issuer's keys by id.

    `require` names the claims that must be there. With `exact`, the claims are read as the body of a request:
    strictly, with fractions as Decimals.
    """

    def __init__(
        self,
        find_key: FindKey,
        issuer: str,
        audience: str,
        leeway: timedelta,
        require: Sequence[str],
        *,
        exact: bool = False,
    ) -> None:
        self._find_key = find_key
        self._reader = _Exact() if exact else jwt.PyJWT()
        self._rules: dict[str, Any] = {
            "issuer": issuer,
            "audience": audience,
            "leeway": leeway,
            "options": {"require": [*require]},
        }

    def claims(self, text: str) -> dict[str, Any]:
        """The claims of a text. Raises Forged, Expired, IssuerUnavailable."""
        try:
            key = self._find_key(_key_id(text))
            if key is None:
                raise Forged
            return self._reader.decode(text, key.key, [key.algorithm], **self._rules)
        except jwt.ExpiredSignatureError as error:
            raise Expired from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise Forged from error


class _Exact(jwt.PyJWT):
    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        try:
            claims = parse(decoded["payload"])
        except Problem as problem:
            raise jwt.DecodeError(str(problem)) from problem
        if not isinstance(claims, dict):
            raise jwt.DecodeError("not an object")
        return claims


def sign(secret: str, claims: bytes) -> str:
    """The claims, a JSON text, signed with the shared secret."""
    return jwt.PyJWS().encode(claims, secret, of_secret(secret).algorithm)


def _key_id(text: str) -> str | None:
    """The key id in the header. Raises ValueError."""
    # PyJWT would decode the whole text for this, which takes as long as verifying an RSA signature.
    header = orjson.loads(urlsafe_b64decode(text.partition(".")[0] + "=="))
    kid = header.get("kid") if isinstance(header, dict) else None
    if not isinstance(kid, str | None):
        raise ValueError("kid is not a string")
    return kid
