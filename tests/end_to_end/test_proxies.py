"""Behind one proxy or two, the service knows the client's address and scheme, and believes no client."""

from __future__ import annotations

import contextlib
import ssl
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

from app.http.problems import PROBLEMS
from deploy.local.process import Process
from deploy.local.servers import HOST, free_port
from deploy.local.stack import ROOT
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.end_to_end.conftest import ProxyStarter
    from tests.support.servers import StackStarter

CLIENT = "127.0.0.9"
LIES = {
    "X-Forwarded-For": "203.0.113.1, 203.0.113.2",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "9090",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-Protocol": "ssl",
    "Forwarded": "for=203.0.113.1;proto=https;host=evil.example",
    "X-Real-IP": "203.0.113.1",
    "Script-Name": "/evil",
    "X-Request-ID": "mine-1",
}


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts a web process that shows how requests look to it, and returns its port."""
    with contextlib.ExitStack() as processes:

        def start(**settings: str) -> int:
            port = free_port()
            command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py"]
            environ = {"AUTH": "off", "BIND_ADDRESS": HOST, "PORT": str(port), "WEB_CONCURRENCY": "1"}
            environ |= {"GRACEFUL_TIMEOUT": "1", "HOME": str(tmp_path), **settings}
            name, log = f"mirror-{port}", tmp_path / f"mirror-{port}.log"
            process = Process(name, [*command, "tests.end_to_end.mirror:app"], log, env=environ, cwd=ROOT)
            process.start()
            processes.callback(process.stop)
            eventually(lambda: "Booting worker" in process.output() or process.exit_code is not None)
            eventually(lambda: _answers(f"http://{HOST}:{port}"))
            return port

        yield start


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def seen(url: str, verify: Any = True, **headers: str) -> dict[str, Any]:
    """The request as the service sees it, sent by a client with an address of its own."""
    transport = httpx.HTTPTransport(local_address=CLIENT, verify=verify)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(transport=transport, timeout=10) as client:
        answer = client.get(f"{url}/mirror", headers={"Host": "shop.example", **named})
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Request-ID"] == answer.json()["requestId"]
    return dict(answer.json())


def test_without_a_proxy_nothing_that_is_forwarded_is_believed(mirror: Callable[..., int]) -> None:
    request = seen(f"http://{HOST}:{mirror()}", **LIES)
    assert request == {
        "url": "http://shop.example/mirror",
        "address": CLIENT,
        "prefix": "",
        "requestId": "mine-1",
    }


def test_behind_one_proxy_the_client_is_known_and_cannot_lie(
    mirror: Callable[..., int], nginx: ProxyStarter
) -> None:
    proxy = nginx(mirror(TRUSTED_PROXIES="1"))
    for headers in ({}, LIES):
        request = seen(proxy.url, **headers)
        assert (request["url"], request["address"], request["prefix"]) == (
            "http://shop.example/mirror",
            CLIENT,
            "",
        )
    assert len(seen(proxy.url, X_Request_ID="no good one")["requestId"]) == 32


def test_behind_two_proxies_the_client_is_known_and_cannot_lie(
    mirror: Callable[..., int], nginx: ProxyStarter, tmp_path: Path
) -> None:
    """The outer one has the certificate and the path; who comes past it to the inner one is no proxy."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, "shop.example")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(tmp_path / "tls.crt", append=True)
    inner = nginx(mirror(TRUSTED_PROXIES="2"), "behind")
    outer = nginx(inner.port, "tls", "prefix", changes={"/etc/nginx/tls": f"{tmp_path}/tls"})
    with authority.cert_pem.tempfile() as path:
        context = ssl.create_default_context(cafile=path)
    for headers in ({}, LIES):
        request = seen(f"https://{HOST}:{outer.tls_port}/shop", context, **headers)
        assert request["url"] == "https://shop.example/shop/mirror"
        assert (request["address"], request["prefix"]) == (CLIENT, "/shop")
    for headers in ({}, LIES):
        request = seen(inner.url, **headers)
        assert (request["url"], request["address"], request["prefix"]) == (
            "http://shop.example/mirror",
            HOST,
            "",
        )


def test_links_lead_back_through_the_proxy_under_its_path_and_the_services(
    start_stack: StackStarter, nginx: ProxyStarter
) -> None:
    settings = {"API_PREFIX": "/api", "TRUSTED_PROXIES": "1", "RATE_LIMIT_ADDRESS": "1000/day"}
    stack = start_stack(roles={"web": 1}, settings=settings)
    proxy = nginx(stack.port, "prefix")
    with httpx.Client(base_url=proxy.url, timeout=10) as client:
        placed = [client.post("/shop/api/orders", json=draft()) for _ in range(3)]
        for answer in placed:
            location = answer.headers["Location"]
            assert location == f"/shop/api/orders/{answer.json()['order']['id']}"
            assert client.get(location).json() == answer.json()["order"]
        first = client.get("/shop/api/orders?limit=2")
        second = client.get(first.links["next"]["url"])
        assert first.links["next"]["url"].startswith("/shop/api/orders?")
        assert len(first.json()["orders"] + second.json()["orders"]) == 3
        description = client.get("/shop/api/openapi.json").json()
        assert description["servers"] == [{"url": "/shop"}]
        page = client.get("/shop/api/docs").text
        for asset in ("swagger-ui.css", "swagger-ui-bundle.js"):
            assert f'"/shop/api/docs/{asset}"' in page
            assert client.get(f"/shop/api/docs/{asset}").status_code == 200
        missing = client.get("/shop/api/orders/none").json()
        assert missing["instance"] == "/shop/api/orders/none"
        level = client.put("/shop/api/stock/a%2Fb%20c", json={"onHand": 3})
        assert level.json()["productId"] == "a/b c"
        assert client.get("/shop/api/metrics").status_code == 404
    assert httpx.get(f"{stack.base_url}/metrics").status_code == 200


@pytest.mark.parametrize("prefix", ["/v2", "/shop/orders/v2", "/stock"])
def test_metrics_are_hidden_under_any_prefix_and_a_product_of_that_name_is_not(
    start_stack: StackStarter, nginx: ProxyStarter, prefix: str
) -> None:
    stack = start_stack(roles={"web": 1}, settings={"API_PREFIX": prefix, "TRUSTED_PROXIES": "1"})
    proxy = nginx(stack.port)
    assert httpx.get(f"{stack.base_url}/metrics").status_code == 200
    for path in ("/metrics", "/metrics/", "//metrics", "/%6Detrics", "/x/../metrics"):
        assert httpx.get(f"{proxy.url}{prefix}{path}").status_code == 404, path
    level = httpx.put(f"{proxy.url}{prefix}/stock/metrics", json={"onHand": 3})
    assert (level.status_code, level.json()["productId"]) == (201, "metrics")


def test_limits_are_those_of_the_client_and_not_of_the_proxy(
    start_stack: StackStarter, nginx: ProxyStarter
) -> None:
    settings = {"TRUSTED_PROXIES": "1", "RATE_LIMIT": "3/day", "WEB_CONCURRENCY": "2"}
    proxy = nginx(start_stack(roles={"web": 1}, settings=settings).port)
    statuses = {}
    for address in ("127.0.0.21", "127.0.0.22"):
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
            statuses[address] = [
                client.get(f"{proxy.url}/orders", headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code
                for n in range(4)
            ]
    assert list(statuses.values()) == [[200, 200, 200, 429]] * 2


def test_the_proxys_own_refusals_are_problems_too(mirror: Callable[..., int], nginx: ProxyStarter) -> None:
    proxy, away = nginx(mirror(TRUSTED_PROXIES="1"), "prefix"), nginx(free_port())
    refused = {
        (proxy, "/orders?userId=" + "a" * 9000, ""): (414, "uri_too_long"),
        (proxy, "/orders", "a" * 9000): (431, "request_header_fields_too_large"),
        (proxy, "/metrics", ""): (404, "not_found"),
        (proxy, "//metrics/", ""): (404, "not_found"),
        (proxy, "/%6Detrics", ""): (404, "not_found"),
        (proxy, "/x/../metrics", ""): (404, "not_found"),
        (proxy, "/api/metrics", ""): (404, "not_found"),
        (proxy, "/shop/metrics", ""): (404, "not_found"),
        (proxy, "/shop/any/prefix/metrics", ""): (404, "not_found"),
        (proxy, "/v2/metrics//", ""): (404, "not_found"),
        (away, "/orders", ""): (503, "unavailable"),
    }
    for (where, path, header), (status, code) in refused.items():
        answer = httpx.get(f"{where.url}{path}", headers={"X": header, "X-Request-ID": "mine-1"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), (
            path
        )
        problem = answer.json()
        assert (problem["status"], problem["code"]) == (status, code)
        assert problem["title"] == PROBLEMS[code].title
        assert problem["detail"].endswith(".")
        assert problem["requestId"] == answer.headers["X-Request-ID"]
        assert (problem["requestId"] == "mine-1") == (status in (404, 503))
        assert ("Retry-After" in answer.headers) == (status == 503)
    large = httpx.post(f"{proxy.url}/orders", content=b" " * 300_000)
    assert (large.status_code, large.json()["code"]) == (413, "content_too_large")
