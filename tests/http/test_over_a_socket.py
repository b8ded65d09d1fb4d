"""Needs a real gunicorn: bodies without a length, encoded paths, and the metrics of all workers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import StackStarter


@pytest.fixture(scope="module")
def web(start_shared_stack: StackStarter) -> Iterator[httpx.Client]:
    stack = start_shared_stack(roles={"web": 1}, settings={"API_PREFIX": "/api", "WEB_CONCURRENCY": "2"})
    with httpx.Client(base_url=stack.base_url, timeout=30) as client:
        yield client


def test_the_api_holds_over_a_socket(web: httpx.Client) -> None:
    placed = web.post("/orders", json=SAMPLE)
    assert placed.status_code == 201
    assert placed.headers["Location"] == f"/api/orders/{placed.json()['order']['id']}"
    order = web.get(placed.headers["Location"].removeprefix("/api"))
    assert order.json() == placed.json()["order"]
    assert web.head(f"/orders/{order.json()['id']}").headers["ETag"] == '"v1"'

    def pieces(size: int) -> Iterator[bytes]:
        yield json.dumps(SAMPLE).encode()
        for _ in range(size // 1024):
            yield b" " * 1024

    as_json = {"Content-Type": "application/json"}
    assert web.post("/orders", content=pieces(4096), headers=as_json).status_code == 201
    for body in (pieces(300 * 1024), b" " * 300 * 1024):
        refused = web.post("/orders", content=body, headers=as_json)
        assert (refused.status_code, refused.json()["code"]) == (413, "content_too_large")
    assert web.post("/orders", content=iter([b""]), headers=as_json).status_code == 400

    level = web.put("/stock/a%2Fb%20c", json={"onHand": 3})
    assert (level.status_code, level.json()["productId"]) == (201, "a/b c")
    assert web.get("/stock/a%2Fb%20c/movements").status_code == 200

    odd = web.get("/orders", headers={"X-Request-ID": b"\xff\xfe", "Accept": b"\xff"})
    assert odd.status_code == 406
    assert len(odd.headers["X-Request-ID"]) == 32
    assert web.get("/orders/%FF%00").status_code == 404


def test_the_metrics_are_those_of_all_workers(web: httpx.Client) -> None:
    def ask(_: int) -> int:
        return httpx.get(f"{web.base_url}healthz").status_code

    with ThreadPoolExecutor(8) as callers:
        assert set(callers.map(ask, range(40))) == {200}
    counted = 'http_requests_total{method="GET",route="/api/healthz",status="200"} 40.0'
    assert {counted in web.get("/metrics").text for _ in range(6)} == {True}
