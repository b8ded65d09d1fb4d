"""A role of which one process works: when that process dies or stops, the next one works soon."""

from __future__ import annotations

import signal
import statistics
import time
from typing import TYPE_CHECKING

from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from deploy.local.process import Process
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

ROUNDS, SOON = 5, 3.0


def test_orders_are_confirmed_within_three_seconds_of_a_relays_death(serve: ServiceStarter) -> None:
    """In most of five rounds; a busy machine may be late in one."""
    service = serve(roles={"web": 1, "relay": ROUNDS + 1, "worker": 1, "beat": 1})
    _all_others_stand_by(service, "relay")
    ids: list[str] = []
    seconds = []
    for _ in range(ROUNDS):
        _working(service, "relay").kill()
        killed = time.monotonic()
        ids.append(service.placed(draft()))
        eventually(lambda: service.get(ids[-1])["status"] == "confirmed", timeout=60)
        seconds.append(time.monotonic() - killed)

    assert statistics.median(seconds) < SOON
    service.come_to_rest(ids)
    assert books.faults(service, ids) == []


def test_a_relay_that_pauses_is_replaced_and_stands_by_when_it_goes_on(serve: ServiceStarter) -> None:
    """Both may work for a moment, which does no harm."""
    service = serve(roles={"web": 1, "relay": 2, "worker": 1, "beat": 1})
    paused = _working(service, "relay")
    ids = service.place_all([draft()] * 20)
    paused.send(signal.SIGSTOP)
    ids += service.place_all([draft()] * 20)
    eventually(lambda: service.count(ids, status="confirmed") == len(ids))

    paused.send(signal.SIGCONT)

    eventually(lambda: "relay stands by" in paused.output())
    ids += service.place_all([draft()] * 20)
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == len(ids)
    assert books.faults(service, ids) == []


def test_a_beat_that_dies_is_replaced_within_three_seconds(serve: ServiceStarter) -> None:
    """In most of five rounds; a message of a sweep after the death shows the next one at work."""
    service = serve(roles={"web": 1, "beat": ROUNDS + 1})
    _all_others_stand_by(service, "beat")
    seconds = []
    for _ in range(ROUNDS):
        _working(service, "beat").kill()
        killed = time.monotonic()
        service.broker.delete("maintenance")
        eventually(lambda: service.broker.llen("maintenance"))
        seconds.append(time.monotonic() - killed)

    assert statistics.median(seconds) < SOON


def _all_others_stand_by(service: Service, role: str) -> None:
    processes = service.stack.processes([role])
    eventually(lambda: sum(f"{role} stands by" in one.output() for one in processes) == len(processes) - 1)


def _working(service: Service, role: str) -> Process:
    """The process of the role that works now."""
    (working,) = (
        one for one in service.stack.processes([role]) if one.running and f"{role} works" in one.output()
    )
    return working
