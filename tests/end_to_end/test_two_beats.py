"""A second beat is harmless, and takes over when the first is gone."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

SWEEP, EVERY = "maintenance.sweep", timedelta(seconds=1)


def test_two_beats_send_what_one_would_and_the_second_takes_over(serve: ServiceStarter) -> None:
    """With no worker to take them, all ticks ever sent are in the queue, each with its time."""
    service = serve(roles={"web": 1, "beat": 2})
    eventually(lambda: len(_sweeps(service)) >= 4)
    times = _sweeps(service)
    assert all(later - earlier > EVERY / 2 for earlier, later in pairwise(times))
    assert len(times) <= (times[-1] - times[0]) / EVERY + 2

    (working,) = (beat for beat in service.stack.processes(["beat"]) if "beat works" in beat.output())
    working.kill()
    before = len(_sweeps(service))
    eventually(lambda: len(_sweeps(service)) >= before + 3)


def test_with_two_beats_an_order_expires_once(serve: ServiceStarter) -> None:
    """And whatever else they start happens once, too."""
    service = serve(settings={"ORDER_EXPIRY": "2s"}, roles={"web": 1, "relay": 1, "worker": 2, "beat": 2})
    ids = service.place_all([draft(paymentMethod="sandbox_unavailable")] * 40)
    service.come_to_rest(ids)
    assert service.count(ids, status="cancelled", cancellation__reason="expired") == len(ids)
    assert books.faults(service, ids) == []


def _sweeps(service: Service) -> list[datetime]:
    """When each sweep in the queue was sent; a tick is good until the next one."""
    messages: list[Any] = service.broker.lrange("maintenance", 0, -1)
    headers = [json.loads(message)["headers"] for message in messages]
    return sorted(
        datetime.fromisoformat(header["expires"]) - EVERY for header in headers if header["task"] == SWEEP
    )
