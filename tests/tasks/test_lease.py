"""A lease on a real broker: one holder at a time, and a dead holder loses it."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tasks import beat, composition
from tasks.lease import SECONDS, Lease
from tasks.schedule import EVERY
from tests.support.doubles import at_once, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from deploy.local.servers import Broker
    from tests.support.service_fixtures import Queues

pytestmark = pytest.mark.slow


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A direct client of the broker."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def lease(redis_url: str) -> Iterator[Callable[[], Any]]:
    """Makes one more competitor for the lease. In the end, none holds it or renews it."""
    made: list[Lease] = []

    def compete() -> Lease:
        made.append(Lease(redis_url, "work"))
        return made[-1]

    yield compete
    for competitor in made:
        competitor.release()
        if competitor._renewing:
            competitor._renewing.join()


def run_out(client: redis.Redis, holder: Any) -> None:
    """Ends the lease, and returns when its holder knows."""
    client.delete("lease:work")
    eventually(lambda: time.monotonic() > holder._good_until)


def test_of_many_competitors_at_once_one_gets_the_lease(lease: Any) -> None:
    assert sum(at_once(*(lease().hold for _ in range(16)))) == 1


def test_the_holder_renews_the_lease_and_the_others_stand_by(lease: Any, client: redis.Redis) -> None:
    first, second = lease(), lease()
    assert first.hold()
    assert not second.hold()
    deadline = time.monotonic() + 2 * SECONDS
    while time.monotonic() < deadline:
        assert not second.hold()
    # The thread renewed it, although the busy holder never called `hold`.
    assert first.hold()


def test_a_holder_that_hangs_loses_the_lease(lease: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.lease.PATIENCE", 0.5)
    first, second = lease(), lease()
    assert first.hold()
    eventually(second.hold)
    assert not first.hold()


def test_the_lease_names_its_holder(lease: Any) -> None:
    first, second = lease(), lease()
    assert second.holder() is None
    assert first.hold()
    assert second.holder() == f"{socket.gethostname()}:{os.getpid()}"


def test_after_a_release_the_next_process_gets_the_lease_at_once(lease: Any) -> None:
    first, second = lease(), lease()
    first.hold()
    first.release()
    assert second.hold()
    assert not first.hold()


def test_releasing_the_lease_of_another_process_has_no_effect(lease: Any, client: redis.Redis) -> None:
    first, second = lease(), lease()
    first.hold()
    run_out(client, first)
    assert second.hold()
    first.release()
    lease().release()
    assert second.hold()
    assert not first.hold()


def test_an_expired_lease_goes_to_the_first_process_that_asks(lease: Any, client: redis.Redis) -> None:
    first, second = lease(), lease()
    first.hold()
    run_out(client, first)
    assert second.hold()
    assert not first.hold()
    second.release()
    assert first.hold()


def test_after_the_broker_lost_its_data_one_process_gets_the_lease(lease: Any, client: redis.Redis) -> None:
    first, second = lease(), lease()
    first.hold()
    client.flushdb()
    eventually(lambda: time.monotonic() > first._good_until)
    assert sum(at_once(first.hold, second.hold)) == 1
    assert sum((first.hold(), second.hold())) == 1


def test_without_the_broker_no_process_holds_the_lease_and_no_error_is_raised(
    private_broker: Callable[[], Broker],
) -> None:
    broker = private_broker()
    holder = Lease(broker.url(), "work")
    assert holder.hold()
    broker.stop()
    eventually(lambda: not holder.hold())
    broker.start()
    eventually(holder.hold)
    broker.stop()
    holder.release()


def test_of_two_beats_one_ticks_and_the_other_takes_over_when_it_is_closed(
    celery: Celery, redis_url: str, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(composition.settings(), redis_url=redis_url)
    monkeypatch.setattr(beat, "settings", lambda: own)

    def scheduler() -> Any:
        made = beat.LeasedScheduler(app=celery, lazy=True)
        made.setup_schedule()
        for entry in made.schedule.values():
            entry.last_run_at = entry.default_now().replace(year=2000)
        return made

    def tick_through(made: Any) -> set[str]:
        """The tasks that it sends within as many ticks as it has entries."""
        assert all(0 <= made.tick() <= 1 for _ in made.schedule)
        return {name for name, _ in queues.take("maintenance")}

    first, second = scheduler(), scheduler()
    assert tick_through(first) == set(EVERY)
    assert tick_through(second) == set()
    first.close()
    assert tick_through(second) == set(EVERY)
    second.close()
