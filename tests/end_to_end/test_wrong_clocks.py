"""Processes whose machines have wrong clocks work by the database's time, and say so."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.orders.events import PUBLIC
from deploy.local.servers import HOST, free_port
from tests.end_to_end.service import accepted, draft, eventually
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.stack import Stack
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

SLOW, FAST = -600, 600
SKEWED = str(Path(__file__).parents[1] / "support/skewed")
NEAR = timedelta(seconds=30)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    with Receiver() as receiver:
        yield receiver


def skewed(seconds: int) -> dict[str, str]:
    """The settings of a process whose clock is ahead by so much."""
    return {"PYTHONPATH": SKEWED, "CLOCK_SKEW": str(seconds)}


def start_slow_web(stack: Stack) -> str:
    """The address of one more web process, ten minutes slow."""
    port = free_port()
    stack.start("web", PORT=str(port), **skewed(SLOW))
    url = f"http://{HOST}:{port}"

    def is_ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    eventually(is_ready, timeout=60)
    return url


def test_a_slow_web_and_a_fast_worker_lose_no_webhook_and_park_no_step(
    serve: ServiceStarter, receiver: Receiver
) -> None:
    """The endpoint is created where the clock is right, a moment before the orders."""
    service = serve(
        settings={"WEBHOOK_ALLOW_PRIVATE": "true", "ORDER_EXPIRY": "5s"},
        roles={"web": 1, "relay": 1, "beat": 1},
    )
    service.stack.start("worker", **skewed(FAST))
    url = start_slow_web(service.stack)
    answer = service.http.post("/webhook-endpoints", json={"url": receiver.url()})
    assert answer.status_code == 201, answer.text
    began = datetime.now(UTC)

    ids = [place(url, draft()) for _ in range(10)]
    waiting = place(url, draft(paymentMethod="sandbox_unavailable"))

    service.come_to_rest(ids, timeout=90)
    assert service.count(ids, status="confirmed") == len(ids)
    # By beat's ticks, which the fast worker takes.
    eventually(lambda: service.get(waiting)["status"] == "cancelled", timeout=60)
    service.come_to_rest([waiting], timeout=60)
    for order_id in (*ids, waiting):
        events: list[Any] = service.http.get(f"/orders/{order_id}/events").json()["events"]
        public = [event["sequence"] for event in events if event["type"] in PUBLIC]
        recorded = service.database.webhook_deliveries.find({"orderId": order_id})
        assert sorted(delivery["sequence"] for delivery in recorded) == public
        for event in events:
            assert abs(datetime.fromisoformat(event["at"]) - began) < NEAR + timedelta(minutes=1)
    eventually(lambda: service.database.webhook_deliveries.count_documents({"status": "pending"}) == 0)
    skew_is_reported(service, url)


def skew_is_reported(service: Service, url: str) -> None:
    """Both have logged by how much their clock is off, and web shows it as a metric."""
    for role, skew in (("worker", FAST), ("web", SLOW)):
        said = re.findall(r'"skew":(-?[\d.]+),"event":"the clock is wrong', service.process(role).output())
        assert said
        assert all(abs(float(seconds) - skew) < 5 for seconds in said)
    metrics = httpx.get(f"{url}/metrics", timeout=10, trust_env=False).text
    (shown,) = re.findall(r"(?m)^clock_skew_seconds(?:\{.*\})? (\S+)$", metrics)
    assert abs(float(shown) - SLOW) < 5


def place(url: str, body: dict[str, Any]) -> str:
    """The id of an order posted to that web process."""
    return accepted(httpx.post(f"{url}/orders", json=body, timeout=30, trust_env=False))
