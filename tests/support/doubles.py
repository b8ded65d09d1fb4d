"""Doubles of collaborators, for tests that act between an effect and the next step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from app.clock import now
from app.orders.sweeping import send_overdue

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from app.services import Services


class Crash(BaseException):
    """The process dies here: nothing in the service may catch it."""


class Held:
    """A lease that is ours until it is taken."""

    def __init__(self) -> None:
        self.taken = False

    def hold(self) -> bool:
        """Whether it is still ours."""
        return not self.taken


class StoppedClock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self._now = now()

    def __call__(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        """Lets that much time pass."""
        self._now += by


class Followed:
    """A collaborator, real but that the nth call of one of its methods is followed by something else."""

    def __init__(self, inner: Any, method: str, then: Callable[[], object], nth: int = 1) -> None:
        self._inner = inner
        self._method = method
        self._then = then
        self._to_come = nth

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._inner, name)

        def call(*args: Any, **options: Any) -> Any:
            result = getattr(self._inner, name)(*args, **options)
            if isinstance(result, Iterator):
                # The effect lies in taking the outcomes, not in asking for them.
                result = iter(list(result))
            self._to_come -= 1
            if not self._to_come:
                self._then()
            return result

        return call


# Where the services hold a collaborator.
HELD = {
    "audit": attrgetter("reconciliation.audit"),
    "due_work": attrgetter("orders.due_work"),
    "feed": attrgetter("feed.store"),
    "notifications": attrgetter("notifications.store"),
    "orders": attrgetter("orders.store"),
    "payment_events": attrgetter("payments.events"),
    "payments": attrgetter("payments.provider"),
    "reconciliations": attrgetter("reconciliation.reports"),
    "stock": attrgetter("stock.store"),
    "webhook_deliveries": attrgetter("webhooks.deliveries"),
    "webhook_endpoints": attrgetter("webhooks.endpoints"),
    "webhooks": attrgetter("webhooks.sender"),
}


def followed(
    services: Services, collaborator: str, method: str, then: Callable[[], object], nth: int = 1
) -> Services:
    """The services with something else happening right after the nth call of that method."""
    return with_parts(services, **{collaborator: Followed(HELD[collaborator](services), method, then, nth)})


def with_parts(services: Services, **changed: Any) -> Services:
    """The services made anew with other parts in place of these."""
    return services.anew(**changed)


def swept(services: Services, *busy: str) -> dict[str, list[str]]:
    """The ids that one sweep sends again, by step. The queues of the given steps are busy."""
    sent: dict[str, list[str]] = {}

    def send(owed: dict[str, list[str]]) -> None:
        for name, order_ids in owed.items():
            sent.setdefault(name, []).extend(order_ids)

    send_overdue(services.orders, lambda name: name not in busy, send)
    return sent


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Runs all of these at the same time, each in a thread; their results, or what they raised, in order."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits until the condition holds; fails if it does not within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)
