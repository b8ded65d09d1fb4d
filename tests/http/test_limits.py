"""A caller over its limit gets 429 with the time to wait, and does not delay other callers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.http.limits import network_of
from tests.support.payment_events import event, signed
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient


@pytest.fixture
def limited(make_app: Callable[..., Flask], redis_url: str) -> Callable[..., FlaskClient]:
    """Makes a client of an application with such limits."""
    return lambda **limits: make_app(REDIS_URL=redis_url, **limits).test_client()


def statuses(number: int, call: Callable[[], Any]) -> list[int]:
    return [call().status_code for _ in range(number)]


def test_a_caller_over_the_limit_gets_a_retry_after(
    limited: Callable[..., FlaskClient],
) -> None:
    client = limited(RATE_LIMIT="2/day")
    allowed = [client.get("/orders") for _ in range(2)]
    assert [answer.status_code for answer in allowed] == [200, 200]
    assert [answer.headers["RateLimit-Policy"] for answer in allowed] == ['"caller";q=2;w=86400'] * 2
    assert [answer.headers["RateLimit"].split(";t=")[0] for answer in allowed] == [
        '"caller";r=1',
        '"caller";r=0',
    ]
    refused = client.post("/orders", json=SAMPLE)
    assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
    assert refused.get_json()["code"] == "too_many_requests"
    assert 0 < int(refused.headers["Retry-After"]) <= 86400
    assert refused.headers["RateLimit"] == f'"caller";r=0;t={refused.headers["Retry-After"]}'
    assert refused.headers["X-Request-ID"] == refused.get_json()["requestId"]


def test_a_request_over_the_limit_has_no_effect(
    limited: Callable[..., FlaskClient], api_database: Any
) -> None:
    client = limited(RATE_LIMIT="3/day")
    assert statuses(6, lambda: client.post("/orders", json=SAMPLE)) == [201] * 3 + [429] * 3
    assert api_database.orders.count_documents({}) == 3


def test_without_the_settings_there_are_no_limits_and_no_headers(client: FlaskClient) -> None:
    answer = client.get("/orders")
    assert not {"RateLimit", "RateLimit-Policy"} & set(answer.headers.keys())


def test_health_metrics_and_description_are_never_refused(limited: Callable[..., FlaskClient]) -> None:
    client = limited(RATE_LIMIT="1/day", RATE_LIMIT_ADDRESS="1/day")
    assert statuses(3, lambda: client.get("/orders")) == [200, 429, 429]
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "RateLimit" not in answer.headers


def test_an_unknown_path_counts_like_any(limited: Callable[..., FlaskClient]) -> None:
    client = limited(RATE_LIMIT="2/day")
    assert statuses(3, lambda: client.get("/nothing")) == [404, 404, 429]


def test_callers_count_by_their_tokens_and_not_by_their_addresses(
    limited: Callable[..., FlaskClient],
) -> None:
    client = limited(RATE_LIMIT="2/day", **SETTINGS)
    assert statuses(3, lambda: client.get("/orders", headers=bearer(token("ann")))) == [200, 200, 429]
    assert client.get("/orders", headers=bearer(token("bob"))).status_code == 200
    elsewhere = {"REMOTE_ADDR": "192.0.2.9"}
    assert client.get("/orders", headers=bearer(token("ann")), environ_base=elsewhere).status_code == 429


def test_callers_of_one_address_share_its_limit(limited: Callable[..., FlaskClient]) -> None:
    client = limited(RATE_LIMIT="100/day", RATE_LIMIT_ADDRESS="2/day", **SETTINGS)
    answers = [client.get("/orders", headers=bearer(token(name))) for name in ("ann", "bob", "cleo")]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"caller";q=100;w=86400, "address";q=2;w=86400'


def test_a_client_that_tries_tokens_is_soon_limited(
    limited: Callable[..., FlaskClient],
) -> None:
    client = limited(RATE_LIMIT="100/day", RATE_LIMIT_ADDRESS="3/day", **SETTINGS)
    wrong = {"Authorization": "Bearer wrong"}
    assert statuses(2, lambda: client.get("/orders", headers=wrong)) == [401, 401]
    assert client.get("/stock", headers=bearer(token("ann"))).status_code == 403
    assert statuses(2, lambda: client.get("/orders", headers=wrong)) == [429, 429]
    assert client.get("/orders", headers=bearer(token("ann"))).status_code == 429


def test_payment_events_count_for_their_address_alone(limited: Callable[..., FlaskClient]) -> None:
    """The provider is nobody's caller, and sends many."""
    client = limited(RATE_LIMIT="1/day", RATE_LIMIT_ADDRESS="4/day")
    sent = signed(event("6b033007be80b54b95c73191"))

    def post() -> Any:
        return client.post("/payment-events/sandbox", data=sent.body, headers=sent.headers)

    assert statuses(5, post) == [202] * 4 + [429]


def test_all_is_served_while_redis_is_away(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT="1/day", RATE_LIMIT_ADDRESS="1/day").test_client()
    assert statuses(3, lambda: client.post("/orders", json=SAMPLE)) == [201] * 3


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:" + "x" * 100, "unix:" + "x" * 59),
    ],
)
def test_all_addresses_of_an_ipv6_network_count_together(address: str, network: str) -> None:
    assert network_of(address) == network
