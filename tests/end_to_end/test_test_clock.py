"""The time of all processes moves, and the examples of the page about it do what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from deploy.local.stack import ROOT
from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually
from tests.support.receiver import Receiver, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

PAGE = (ROOT / "docs/test-clock.md").read_text()
SETTINGS = {"TEST_CLOCK": "true", "WEBHOOK_ALLOW_PRIVATE": "true"}
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def ticking(serve_all: ServiceStarter) -> Service:
    """A service whose time the tests move."""
    return serve_all(settings=SETTINGS)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    with Receiver() as receiver:
        yield receiver


def advance(service: Service, by: str) -> httpx.Response:
    return service.http.post("/test/clock/advance", json={"by": by}, timeout=60)


def moved(service: Service, by: str) -> dict[str, Any]:
    """The answer of a call that came to its time; on a busy machine only the next one may."""
    for _ in range(10):
        answer = advance(service, by)
        assert answer.status_code == 200, answer.text
        if answer.json()["done"]:
            return dict(answer.json())
        by = "0s"
    raise AssertionError(answer.text)


def test_the_examples_of_the_page_run_as_they_are_printed(ticking: Service, tmp_path: Path) -> None:
    script = tmp_path / "examples.py"
    script.write_text("\n".join(re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)))

    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "SERVICE": ticking.stack.base_url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_all_processes_have_the_new_time_and_nothing_is_lost_or_done_twice(
    ticking: Service, receiver: Receiver
) -> None:
    """Two web workers and two workers, with orders that they have in hand when the time begins to move."""
    service = ticking
    endpoint = service.http.post("/webhook-endpoints", json={"url": receiver.url()}).json()["id"]
    service.set_stock("ticking", 1000)
    ids = service.place_all([draft("ticking"), draft("ticking", paymentMethod="sandbox_unavailable")] * 10)

    answer = moved(service, "2d")

    assert answer["offsetSeconds"] > (DAY + timedelta(hours=23)).total_seconds()
    assert service.count(ids, status="confirmed") == service.count(ids, status="cancelled") == 10
    order_id = service.confirmed(draft("ticking"))["id"]
    service.come_to_rest([*ids, order_id])
    for event in service.http.get(f"/orders/{order_id}/events").json()["events"]:
        assert datetime.fromisoformat(event["at"]) >= datetime.fromisoformat(answer["now"])
    assert books.faults(service, [*ids, order_id]) == []
    recorded = service.database.webhook_deliveries
    eventually(lambda: recorded.count_documents({"endpointId": endpoint, "status": "pending"}) == 0)
    number = recorded.count_documents({"endpointId": endpoint, "status": "delivered"})
    assert len({hook.id for hook in receiver.hooks}) == len(receiver.hooks) == number


def test_a_call_goes_on_after_its_process_was_killed(serve: ServiceStarter, receiver: Receiver) -> None:
    """It hangs at a receiver that does not answer, a day before its time."""
    service = serve(settings=SETTINGS)
    receiver.replies.append(Reply(503))
    receiver.reply = Reply(instead=receiver.stall)
    endpoint = {"url": receiver.url(), "events": ["order.cancelled"]}
    assert service.http.post("/webhook-endpoints", json=endpoint).status_code == 201
    order_id = service.placed(draft(paymentMethod="sandbox_unavailable"))
    begun = datetime.fromisoformat(service.http.get("/test/clock").json()["now"])
    killed = _in_background(service, "1d")
    eventually(lambda: len(receiver.hooks) == 2, timeout=60)

    service.stack.kill("web")
    killed.wait(30)
    receiver.reply = Reply()
    receiver.released.set()
    service.stack.start("web")
    answer = eventually(lambda: _unless_refused(service), timeout=60, pause=0.5)

    assert answer["done"]
    assert datetime.fromisoformat(answer["now"]) >= begun + DAY
    assert "order.cancelled" in [event["type"] for event in answer["events"]]
    service.come_to_rest([order_id])
    assert books.faults(service, [order_id]) == []
    eventually(lambda: service.database.webhook_deliveries.count_documents({"status": "delivered"}) == 1)


def _in_background(service: Service, by: str) -> subprocess.Popen[bytes]:
    """A client of its own, since its call breaks off."""
    call = "import sys, httpx; httpx.post(sys.argv[1], json={'by': sys.argv[2]}, timeout=60, trust_env=False)"
    url = f"{service.stack.base_url}/test/clock/advance"
    return subprocess.Popen([sys.executable, "-c", call, url, by], stderr=subprocess.DEVNULL)


def _unless_refused(service: Service) -> dict[str, Any] | None:
    """The answer to a call that goes on; None while web is away, or the dead call still counts."""
    try:
        answer = advance(service, "0s")
    except httpx.TransportError:
        return None
    assert answer.status_code in (200, 409), answer.text
    return dict(answer.json()) if answer.status_code == 200 else None
