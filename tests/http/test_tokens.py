"""Tokens: what is believed, and what is not, however it was made."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NotSignedIn
from app.http.access import Caller
from app.http.tokens import EXPIRED, INVALID, MOST_BYTES, Tokens
from app.keys import of_jwk, of_pem, of_secret, only
from tests.support.tokens import AUDIENCE, ISSUER, KEYS, SECRET, claims, jwk, pem, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.keys import Key

ANN = Caller("ann", frozenset(("orders:read", "orders:write")))
LEEWAY = 10


def tokens(key: Key) -> Tokens:
    return Tokens(only(key), ISSUER, AUDIENCE, timedelta(seconds=LEEWAY))


BY_SECRET = tokens(of_secret(SECRET))
BY_KEY = {algorithm: tokens(of_pem(pem(algorithm))) for algorithm in KEYS}


def sealed(header: Any, payload: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token made by hand, as no library would."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (body + b"." + base64.urlsafe_b64encode(sign(body)).rstrip(b"=")).decode()


def hmac_with(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda body: hmac.new(secret, body, hashlib.sha256).digest()


RIGHTLY = hmac_with(SECRET.encode())
HS256 = {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_of_the_issuer_identifies_the_caller(algorithm: str) -> None:
    made = jwt.encode(claims(), KEYS[algorithm], algorithm)
    assert BY_KEY[algorithm].caller(made) == ANN
    assert BY_KEY[algorithm].caller(made) == ANN


def test_a_shared_secret_will_do() -> None:
    assert BY_SECRET.caller(token()) == ANN


@pytest.mark.parametrize(
    ("changes", "scopes"),
    [
        ({"scope": ""}, set()),
        ({"scope": None}, set()),
        ({"scope": "openid  orders:read"}, {"orders:read"}),
        ({"scope": None, "scp": ["orders:read", "stock:write"]}, {"orders:read", "stock:write"}),
        ({"scope": None, "scp": "orders:read"}, {"orders:read"}),
        ({"scope": "orders:admin"}, {"orders:admin", "orders:price", "orders:read", "orders:write"}),
        ({"scope": "orders:price"}, {"orders:price"}),
        ({"aud": ["else", AUDIENCE]}, {"orders:read", "orders:write"}),
        ({"sub": "x" * 128}, {"orders:read", "orders:write"}),
    ],
)
def test_a_token_allows_exactly_its_scopes(changes: dict[str, Any], scopes: set[str]) -> None:
    assert BY_SECRET.caller(sealed(HS256, claims(**changes), RIGHTLY)).scopes == scopes


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://else.example"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"aud": "else"},
        {"aud": None},
        {"aud": []},
        {"aud": {AUDIENCE: 1}},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"exp": [1]},
        {"nbf": int(time.time()) + 36_000},
        {"iat": int(time.time()) + 36_000},
        {"iat": "now"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 129},
        {"sub": "a\nb"},
        {"sub": "\ud800"},
        {"sub": "system"},
        {"sub": "anonymous"},
        {"scope": {"orders:admin": 1}},
        {"scope": ["orders:admin", 7]},
    ],
)
def test_a_token_that_says_something_wrong_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotSignedIn, match=INVALID):
        BY_SECRET.caller(sealed(HS256, claims(**changes), RIGHTLY))


def test_a_clock_may_be_a_little_off() -> None:
    now = int(time.time())
    for changes in ({"exp": now - LEEWAY // 2}, {"nbf": now + LEEWAY // 2}, {"iat": now + LEEWAY // 2}):
        assert BY_SECRET.caller(token(**changes)) == ANN


def test_a_token_that_has_expired_is_refused_as_that() -> None:
    with pytest.raises(NotSignedIn, match=EXPIRED):
        BY_SECRET.caller(token(exp=int(time.time()) - LEEWAY - 1))


def test_a_token_expires_though_it_was_believed_a_moment_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    short = token(exp=int(time.time()) + 1)
    assert BY_SECRET.caller(short) == ANN
    # The moment that a token is over may be in the minute in which it was believed.
    monkeypatch.setattr("app.http.tokens._KEPT_SECONDS", 10**12)
    kept = tokens(of_secret(SECRET))
    assert kept.caller(short) == ANN
    later = time.time() + LEEWAY + 2
    monkeypatch.setattr("app.http.tokens.time.time", lambda: later)
    with pytest.raises(NotSignedIn, match=EXPIRED):
        kept.caller(short)


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("name", ["none", "None", "nOnE", "", None, "HS256", "HS512", ["HS256"], {"a": 1}])
def test_no_token_chooses_how_it_is_verified(algorithm: str, name: Any) -> None:
    """Not by `none`, and not with the public key, which everyone has, for a shared secret."""
    for sign in (lambda _: b"", hmac_with(pem(algorithm)), hmac_with(pem(algorithm).strip())):
        forged = sealed({"alg": name, "typ": "JWT"}, claims(), sign)
        for verifier in (BY_KEY[algorithm], BY_SECRET):
            with pytest.raises(NotSignedIn, match=INVALID):
                verifier.caller(forged)


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("other", [*KEYS, "secret"])
def test_a_key_verifies_its_own_signatures_only(algorithm: str, other: str) -> None:
    made = jwt.encode(claims(), KEYS[algorithm], algorithm)
    verifier = BY_SECRET if other == "secret" else BY_KEY[other]
    if other == algorithm:
        assert verifier.caller(made) == ANN
    else:
        with pytest.raises(NotSignedIn, match=INVALID):
            verifier.caller(made)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RS512"},
        {"alg": "PS256"},
        {"alg": "RS256", "jwk": jwk("RS256")},
        {"alg": "RS256", "jku": "https://evil.example/jwks"},
        {"alg": "RS256", "crit": ["exp"], "exp": 1},
        {"alg": "RS256", "b64": False, "crit": ["b64"]},
        {"alg": "RS256", "kid": {"a": 1}},
    ],
)
def test_a_header_cannot_bring_its_own_rules(header: dict[str, Any]) -> None:
    with pytest.raises(NotSignedIn, match=INVALID):
        BY_KEY["RS256"].caller(sealed(header, claims(), lambda _: b"x" * 256))


def test_a_token_that_was_changed_anywhere_is_refused() -> None:
    good = token()
    for place in range(0, len(good), 7):
        for bad in (good[:place], good[:place] + "A" + good[place + 1 :], good[:place] + good[place + 1 :]):
            if bad != good:
                with pytest.raises(NotSignedIn, match=INVALID):
                    BY_SECRET.caller(bad)


@pytest.mark.parametrize(
    "given_token",
    [
        "",
        ".",
        "..",
        "...",
        "x",
        "\x00",
        "é.é.é",
        "A" * (MOST_BYTES + 1),
        f"{token()}.",
        f"{token()}.x",
        f"{token()},{token()}",
        sealed(b"[" * 5000, {}, RIGHTLY),
        sealed(HS256, b"[" * 5000, RIGHTLY),
        sealed(HS256, b"[]", RIGHTLY),
        sealed(HS256, b"\xff", RIGHTLY),
        sealed(b"[]", {}, RIGHTLY),
        sealed(HS256, b'{"exp":1' + b"0" * 5000 + b"}", RIGHTLY),
    ],
)
def test_an_invalid_token_is_refused(given_token: str) -> None:
    with pytest.raises(NotSignedIn, match=INVALID):
        BY_SECRET.caller(given_token)


def test_a_huge_token_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(NotSignedIn, match=INVALID):
        BY_SECRET.caller(token(padding="x" * MOST_BYTES))


@pytest.mark.slow
@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
def test_nothing_that_is_sent_breaks_the_verifier(sent: str) -> None:
    with pytest.raises(NotSignedIn):
        BY_SECRET.caller(sent)


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_jwk_is_bound_to_the_algorithm_of_its_kind(algorithm: str) -> None:
    assert of_jwk(jwk(algorithm)).algorithm == algorithm
    assert of_jwk(jwk(algorithm, use="sig", alg=algorithm, key_ops=["verify"])).algorithm == algorithm


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "RS256"},
        jwk("RS256", use="enc"),
        jwk("RS256", alg="HS256"),
        jwk("RS256", alg="RS512"),
        jwk("RS256", key_ops=["encrypt"]),
        jwk("ES256", crv="P-384"),
        jwk("EdDSA", crv="Ed448"),
        jwk("RS256", kty="EC"),
        jwk("RS256", d="x"),
        jwk("RS256", n="AQAB"),
        {"kty": "RSA"},
    ],
)
def test_a_jwk_for_another_use_is_ignored(bad: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        of_jwk(bad)
