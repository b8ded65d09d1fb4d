"""A second beat is harmless, and takes over when the first is gone."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from tasks.schedule import MOST_WAITING
from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

SWEEP = "maintenance.sweep"


def test_two_beats_send_no_more_than_one_and_the_second_takes_over(serve: ServiceStarter) -> None:
    """The test takes the messages, in place of a worker."""
    service = serve(roles={"web": 1, "beat": 2})
    _taken(service)
    began = time.monotonic()
    sweeps = 0
    while sweeps < 5:
        sweeps += _taken(service)
        assert sweeps <= time.monotonic() - began + 2

    (working,) = (beat for beat in service.stack.processes(["beat"]) if "beat works" in beat.output())
    working.kill()
    _taken(service)
    eventually(lambda: _taken(service))


def test_messages_that_no_worker_takes_stay_few(serve: ServiceStarter) -> None:
    """Beat goes on once they are taken."""
    service = serve(roles={"web": 1, "beat": 1})
    eventually(lambda: service.broker.llen("maintenance") >= MOST_WAITING, timeout=60)
    # Time for three more of each.
    time.sleep(3)
    assert service.broker.llen("maintenance") == MOST_WAITING
    service.broker.delete("maintenance")
    eventually(lambda: _taken(service))


def test_with_two_beats_an_order_expires_once(serve: ServiceStarter) -> None:
    """And whatever else they start happens once, too."""
    service = serve(settings={"ORDER_EXPIRY": "2s"}, roles={"web": 1, "relay": 1, "worker": 2, "beat": 2})
    ids = service.place_all([draft(paymentMethod="sandbox_unavailable")] * 40)
    service.come_to_rest(ids)
    assert service.count(ids, status="cancelled", cancellation__reason="expired") == len(ids)
    assert books.faults(service, ids) == []


def _taken(service: Service) -> int:
    """How many sweeps were in the queue; they are gone afterwards."""
    sweeps = 0
    while (message := service.broker.rpop("maintenance")) is not None:
        sweeps += json.loads(str(message, "utf-8"))["headers"]["task"] == SWEEP  # type: ignore[arg-type]
    return sweeps
