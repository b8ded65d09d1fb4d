"""Tokens where they count: at the real server, whose workers share no memory and must not wait in line."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import jwt
import pytest

from deploy.local.servers import free_port
from tests.support.tokens import CHECKED, KEYS, Issuer, bearer, claims, jwk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.stack import Stack
    from tests.support.servers import StackStarter

WORKERS = 2


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(jwk("ES256", "one")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(start_shared_stack: StackStarter, issuer: Issuer) -> Stack:
    """Web alone, asking for tokens of that issuer, its metrics at a port of their own."""
    settings = {
        **CHECKED,
        "JWT_JWKS_URL": issuer.url,
        "METRICS_PORT": f"{free_port()}",
        "WEB_CONCURRENCY": f"{WORKERS}",
    }
    return start_shared_stack(settings=settings, roles={"web": 1})


def token(kid: str = "one", algorithm: str = "ES256") -> str:
    return jwt.encode(claims(), KEYS[algorithm], algorithm, headers={"kid": kid})


def test_a_flood_of_foreign_keys_reaches_no_issuer_and_delays_nobody(guarded: Stack, issuer: Issuer) -> None:
    """A token with a known key is accepted even while the issuer hangs."""
    good, foreign = bearer(token()), bearer(token("foreign"))
    with ThreadPoolExecutor(32) as callers:

        def status(headers: dict[str, str]) -> int:
            return httpx.get(f"{guarded.base_url}/orders", headers=headers, timeout=20).status_code

        assert set(callers.map(status, [good] * 64)) == {200}
        assert issuer.fetches <= WORKERS
        issuer.gate.clear()
        flood = [callers.submit(status, foreign) for _ in range(16)]
        for _ in range(20):
            assert httpx.get(f"{guarded.base_url}/orders", headers=good, timeout=2).status_code == 200
        issuer.gate.set()
        assert {refused.result() for refused in flood} == {401}
        assert issuer.fetches <= 2 * WORKERS
        assert set(callers.map(status, [foreign] * 64)) == {401}
        assert issuer.fetches <= 3 * WORKERS


def test_two_tokens_do_not_authenticate_and_neither_does_a_huge_one(guarded: Stack) -> None:
    place = urlsplit(guarded.base_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    connection.putrequest("GET", "/orders")
    for _ in range(2):
        connection.putheader("Authorization", f"Bearer {token()}")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 401
    assert 'error="invalid_token"' in (answer.getheader("WWW-Authenticate") or "")
    connection.close()
    huge = httpx.get(f"{guarded.base_url}/orders", headers=bearer("x" * 9000))
    assert 400 <= huge.status_code < 500


def test_metrics_are_at_their_own_port_and_nothing_else_is(guarded: Stack) -> None:
    inside = f"http://127.0.0.1:{guarded.env['METRICS_PORT']}"
    assert httpx.get(f"{guarded.base_url}/metrics").status_code == 404
    assert "http_requests_total" in httpx.get(f"{inside}/metrics").text
    assert httpx.get(f"{inside}/orders", headers=bearer(token())).status_code == 404
    for forged in ({"Host": inside[7:]}, {"X-Forwarded-Host": inside[7:], "X-Forwarded-Port": inside[-5:]}):
        assert httpx.get(f"{guarded.base_url}/metrics", headers=forged).status_code == 404
