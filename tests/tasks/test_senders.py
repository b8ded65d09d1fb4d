"""The threads that send webhooks: many for a healthy receiver, one for a failing one, and none for ever."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import DatabaseUnavailable
from app.webhooks import service as webhooks
from app.webhooks.delivery import deliver_next, endpoints_due
from app.webhooks.sender import WebhookSender
from tasks.senders import SenderThreads
from tests.support.doubles import eventually, with_parts
from tests.support.receiver import Receiver, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from app.webhooks.model import Endpoint


@pytest.fixture
def sender_threads() -> Iterator[Callable[[Callable[[str], Any]], Any]]:
    """Makes sender threads for such work, and closes them after the test."""
    made = []

    def make(work: Callable[[str], Any]) -> Any:
        made.append(SenderThreads(work))
        return made[-1]

    yield make
    for senders in made:
        senders.close(10)


class Work:
    """Deliveries by endpoint, and the number under way."""

    def __init__(self, *, goes_well: bool = True, **numbers: int) -> None:
        self.left = numbers
        self.done = dict.fromkeys(numbers, 0)
        self.under_way = dict.fromkeys(numbers, 0)
        self.gate = threading.Semaphore(0)
        self.goes_well = goes_well
        self._lock = threading.Lock()

    def __call__(self, endpoint_id: str) -> bool | None:
        with self._lock:
            if not self.left[endpoint_id]:
                return None
            self.left[endpoint_id] -= 1
            self.under_way[endpoint_id] += 1
        assert self.gate.acquire(timeout=30)
        with self._lock:
            self.under_way[endpoint_id] -= 1
            self.done[endpoint_id] += 1
            return self.goes_well

    def release(self, number: int) -> None:
        """Lets this number of attempts finish."""
        self.gate.release(number)


def test_an_endpoint_gets_up_to_eight_threads_while_its_receiver_answers_well(sender_threads: Any) -> None:
    work = Work(a=100)
    sender_threads(work).wake(["a"])
    eventually(lambda: work.under_way["a"] == 1)
    work.release(2)
    eventually(lambda: work.under_way["a"] == 2)
    work.release(60)
    eventually(lambda: work.done["a"] == 62 and work.under_way["a"] == 8)
    work.release(100)
    eventually(lambda: work.done["a"] == 100)


def test_one_thread_stays_while_attempts_fail(sender_threads: Any) -> None:
    work = Work(a=100)
    sender_threads(work).wake(["a"])
    work.release(50)
    eventually(lambda: work.done["a"] == 50 and work.under_way["a"] == 8)
    work.goes_well = False
    work.release(8)
    eventually(lambda: work.done["a"] == 58 and work.under_way["a"] == 1)
    work.release(5)
    eventually(lambda: work.done["a"] == 63 and work.under_way["a"] == 1)
    work.goes_well = True
    work.release(30)
    eventually(lambda: work.done["a"] == 93 and work.under_way["a"] > 1)
    work.release(100)


def test_many_stuck_endpoints_leave_every_other_its_thread(sender_threads: Any) -> None:
    """However many of the shared threads the others have taken."""
    stuck = Work(**{f"stuck-{number}": 1_000 for number in range(20)})
    free = Work(free=10)
    free.release(100)
    senders = sender_threads(lambda name: (free if name == "free" else stuck)(name))
    senders.wake(stuck.left)
    stuck.release(1_000)
    eventually(lambda: sum(stuck.done.values()) == 1_000)
    assert sum(stuck.under_way.values()) <= 20 + 64
    senders.wake(["free"])
    eventually(lambda: free.done["free"] == 10)
    stuck.release(20_000)


@pytest.mark.slow
def test_a_delivery_that_arrives_while_a_thread_ends_is_not_left_behind(sender_threads: Any) -> None:
    waiting: list[str] = []
    done: list[str] = []

    def work(_: str) -> bool | None:
        if not waiting:
            return None
        done.append(waiting.pop())
        return True

    senders = sender_threads(work)
    for number in range(500):
        waiting.append(str(number))
        senders.wake(["a"])
        eventually(lambda number=number: len(done) == number + 1)


@pytest.mark.parametrize(
    ("fault", "level"), [(ValueError("x"), "error"), (DatabaseUnavailable("gone"), "warning")]
)
def test_an_error_ends_the_thread_and_the_next_wake_starts_another(
    sender_threads: Any, logged: list[Any], fault: Exception, level: str
) -> None:
    faults, done = [fault], threading.Event()

    def work(_: str) -> bool | None:
        if faults:
            raise faults.pop()
        done.set()
        return None

    senders = sender_threads(work)
    senders.wake(["a"])
    eventually(lambda: [line["log_level"] for line in logged] == [level])
    senders.wake(["a"])
    assert done.wait(10)


def test_closing_waits_a_limited_time_for_attempts_and_starts_no_more(
    sender_threads: Any,
) -> None:
    work = Work(a=10)
    senders = sender_threads(work)
    senders.wake(["a"])
    eventually(lambda: work.under_way["a"] == 1)
    senders.close(0.05)
    work.release(10)
    senders.close(10)
    senders.wake(["a"])
    assert (work.done["a"], work.left["a"]) == (1, 9)
    assert not [thread for thread in threading.enumerate() if thread.name == "webhooks" and not thread.daemon]


def test_a_dead_and_a_slow_receiver_delay_no_third(
    services: Services, database: OrderDatabase, sender_threads: Any
) -> None:
    """Thousands wait for each of them, and the clock stands still, so all are due at once."""
    services = with_parts(services, webhooks=WebhookSender(allow_private=True))
    with Receiver() as slow, Receiver() as dead, Receiver() as swift:
        slow.reply = Reply(instead=slow.stall)
        dead.reply = Reply(instead=lambda connection: connection.close())
        for receiver, number in ((slow, 3_000), (dead, 3_000), (swift, 200)):
            _waiting(services, database, receiver, number)
        senders = sender_threads(partial(deliver_next, services.webhooks))
        senders.wake(endpoints_due(services.webhooks))
        began = time.monotonic()
        eventually(lambda: len(swift.hooks) == 200, 60)
        took = time.monotonic() - began
        assert len({hook.id for hook in swift.hooks}) == 200
        assert took < 14, "the slow receiver's time was waited for"
        assert swift.most_at_once <= 8
        assert slow.most_at_once == 1
        assert dead.most_at_once <= 1


@pytest.mark.slow
def test_a_thousand_webhooks_reach_a_fast_receiver_within_seconds(
    services: Services, database: OrderDatabase, sender_threads: Any
) -> None:
    services = with_parts(services, webhooks=WebhookSender(allow_private=True))
    with Receiver() as receiver:
        endpoint_id = _waiting(services, database, receiver, 1_000)
        began = time.monotonic()
        sender_threads(partial(deliver_next, services.webhooks)).wake([endpoint_id])
        eventually(lambda: len(receiver.hooks) == 1_000, 60)
        took = time.monotonic() - began
        assert len({hook.id for hook in receiver.hooks}) == 1_000
        assert took < 30, took


def _waiting(services: Services, database: OrderDatabase, receiver: Receiver, number: int) -> str:
    """The id of a new endpoint with this number of deliveries due."""
    endpoint: Endpoint = webhooks.add_endpoint(services.webhooks, receiver.url(), ["*"])
    made: Any = webhooks.send_test_event(services.webhooks, endpoint["id"])
    del made["id"]
    copies = [{**made, "_id": f"{endpoint['id']}{copy:08x}"} for copy in range(number - 1)]
    database["webhook_deliveries"].insert_many(copies)
    return endpoint["id"]
