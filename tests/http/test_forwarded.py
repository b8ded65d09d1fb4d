"""A proxy's headers are used if they have the right form, and ignored otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.config import ConfigError, Settings
from app.http.answers import answer
from app.http.route_metadata import OPEN, declares
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask, Response
    from flask.testing import FlaskClient

NO_PATHS = [
    "https://evil.example",
    "//evil.example",
    "/shop/../..",
    "/..",
    "/./shop",
    "/shop//x",
    "/shop?x=",
    "/shop#x",
    "/shop'\"><script>",
    "/sh\\op",
    "javascript:alert(1)",
    "services",
    "/shop%2f",
    "/" + "a" * 300,
    "/good, https://evil.example",
]


@pytest.fixture(scope="module")
def app_behind(new_app: Callable[..., Flask]) -> Flask:
    """The service behind one proxy, with a route that answers what it knows of its client."""
    app = new_app(TRUSTED_PROXIES="1")

    @app.get("/seen")
    @declares(OPEN)
    def seen() -> Response:
        from flask import request  # noqa: PLC0415

        return answer({"address": request.remote_addr, "scheme": request.scheme})

    return app


@pytest.fixture
def behind(app_behind: Flask, api_database: object) -> FlaskClient:
    """A caller of the service behind one proxy."""
    return app_behind.test_client()


@pytest.mark.parametrize("prefix", NO_PATHS)
def test_a_prefix_that_is_no_path_is_not_there(behind: FlaskClient, prefix: str) -> None:
    headers = {"X-Forwarded-Prefix": prefix}
    placed = behind.post("/orders", json=SAMPLE, headers=headers)
    assert placed.headers["Location"] == f"/orders/{placed.get_json()['order']['id']}"
    assert "servers" not in behind.get("/openapi.json", headers=headers).get_json()
    page = behind.get("/docs", headers=headers).text
    assert 'src="/docs/swagger-ui-bundle.js"' in page
    assert "evil" not in page
    assert behind.get("/orders/none", headers=headers).get_json()["instance"] == "/orders/none"


@pytest.mark.parametrize("prefix", ["/shop", "/shop/", "/a/b.c/~d_e-f", "https://evil.example, /shop"])
def test_a_prefix_that_is_a_path_is_believed(behind: FlaskClient, prefix: str) -> None:
    path = prefix.rpartition(", ")[2].rstrip("/")
    location = behind.post("/orders", json=SAMPLE, headers={"X-Forwarded-Prefix": prefix}).headers["Location"]
    assert location.startswith(f"{path}/orders/")


@pytest.mark.parametrize(
    ("header", "field", "value", "seen"),
    [
        ("For", "address", "203.0.113.9", "203.0.113.9"),
        ("For", "address", "198.51.100.1, 203.0.113.9:51234", "203.0.113.9"),
        ("For", "address", "[2001:db8::1]:51234", "2001:db8::1"),
        ("For", "address", "2001:db8::1", "2001:db8::1"),
        ("For", "address", "nonsense", "127.0.0.1"),
        ("For", "address", "203.0.113.9, ", "127.0.0.1"),
        ("For", "address", "203.0.113.9, 1.2.3.4.5", "127.0.0.1"),
        ("Proto", "scheme", "https", "https"),
        ("Proto", "scheme", "HTTPS", "https"),
        ("Proto", "scheme", "javascript", "http"),
        ("Proto", "scheme", "https, gopher", "http"),
    ],
)
def test_an_address_and_a_scheme_are_such_or_are_not_there(
    behind: FlaskClient, header: str, field: str, value: str, seen: str
) -> None:
    assert behind.get("/seen", headers={f"X-Forwarded-{header}": value}).get_json()[field] == seen


@pytest.mark.parametrize("proxies", ["0", "1"])
def test_no_proxy_is_shown_the_metrics(make_app: Callable[..., Flask], proxies: str) -> None:
    """This holds for every prefix of the API, known to the proxy or not."""
    client = make_app(API_PREFIX="/stock/v2", TRUSTED_PROXIES=proxies).test_client()
    assert client.get("/stock/v2/metrics").status_code == 200
    for address in ("203.0.113.9", "nonsense", ""):
        headers = {"X-Forwarded-For": address}
        assert client.get("/stock/v2/metrics", headers=headers).status_code == 404


@pytest.mark.parametrize("prefix", ["/..", "/a/../b", "/."])
def test_the_services_own_prefix_has_no_dots_for_a_name(prefix: str) -> None:
    with pytest.raises(ConfigError, match="API_PREFIX"):
        Settings.from_env({"AUTH": "off", "API_PREFIX": prefix})
