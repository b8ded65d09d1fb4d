"""The service as its users and its surroundings see it: requests, messages, time, the bank, and crashes.

This is all that the model-based test uses of the service. It knows the names of the messages, and nothing
else of the code.
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from app import create_app
from app.erasure.service import erase_customer
from app.feed.service import catch_up
from app.holds.service import expire_holds
from app.orders.processing import perform
from app.orders.steps import STEPS
from app.orders.sweeping import expire_orders
from app.payments.events import events_due, take_in
from app.payments.sandbox.provider import SandboxProvider
from app.payments.sandbox.store import SandboxBooks
from app.services import services_over
from tests.support.doubles import Crash, StoppedClock, swept
from tests.support.emptying import empty
from tests.support.payment_events import SECRET, event, signed
from tests.support.reconciled import differences, reconciled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from app.config import Settings
    from app.mongo.database import OrderDatabase
    from tests.support.amid_writes import AmidWrites

MESSAGES = tuple(step.name for step in STEPS)
_NAMED = {step.name: step for step in STEPS}


class Answer(NamedTuple):
    """An answer of the API. Numbers with decimals are exact."""

    status: int
    body: Any
    headers: Any


class Fault(NamedTuple):
    """What happens at the nth write of an action.

    The process dies `before` or `after` it, or `meanwhile` another process does something of its own.
    """

    kind: str
    nth: int = 1


class World:
    """One database, two processes that serve and work, a bank, and a clock that the test moves."""

    def __init__(
        self, watched: OrderDatabase, other: OrderDatabase, settings: Settings, amid: AmidWrites
    ) -> None:
        self.clock = StoppedClock()
        self._began = self.clock()
        self._amid = amid
        self._database = other
        self._expiry = settings.order_expiry
        self._deadline = settings.step_deadline
        self._services = [self._process(database, settings) for database in (watched, other)]
        self._clients = [create_app(settings, services).test_client() for services in self._services]
        self._at = 0
        self._news = True

    def begin(self) -> None:
        """Empties the database, but for what a process reads at its start, and sets the clock back."""
        key = list(self._database["feed_cursors"].find())
        empty(self._database)
        if key:
            self._database["feed_cursors"].insert_many(key)
        self.clock.advance(self._began - self.clock())

    @property
    def now(self) -> datetime:
        return self.clock()

    def wait(self, by: timedelta) -> None:
        """Lets time pass, in which nothing happens."""
        self.clock.advance(by)

    def pass_deadlines(self) -> None:
        """Waits until everything that the service owes is overdue, the longest wait of a retry too."""
        self.wait(timedelta(minutes=2))

    def pass_expiry(self) -> None:
        """Waits until every order that is not confirmed has expired."""
        self.wait(self._expiry + timedelta(seconds=1))

    def do(self, action: Callable[[], Any], fault: Fault | None, meanwhile: Callable[[], Any]) -> Any:
        """Does the action with the fault in it. Returns its result; None if the process died."""
        if fault is None:
            return action()
        if fault.kind == "meanwhile":
            self._amid.plan(lambda: self._as_other(meanwhile), fault.nth, outside=True)
        else:
            self._amid.plan(_die, fault.nth, after=fault.kind == "after")
        try:
            return action()
        except Crash:
            # The database ends the transactions of a dead process, though only after a minute.
            self._database.client.admin.command("killAllSessions", [])
            return None
        finally:
            self._amid.cancel()

    def take_news(self) -> bool:
        """Whether anything can have changed since the last call."""
        news, self._news = self._news, False
        return news

    def send(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> Answer:
        """Sends a request."""
        self._news |= method != "GET"
        if key:
            headers["Idempotency-Key"] = key
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = self._clients[self._at].open(
            path,
            method=method,
            data=None if body is None else json.dumps(body),
            content_type=None if body is None else media,
            headers=headers,
            buffered=True,
        )
        text = answer.text
        return Answer(
            answer.status_code, json.loads(text, parse_float=Decimal) if text else None, answer.headers
        )

    def get(self, path: str) -> Any:
        """The body of what is there; None for 404."""
        answer = self.send("GET", path)
        assert answer.status in (200, 404), answer
        return answer.body if answer.status == 200 else None

    def message(self, name: str, order_ids: Sequence[str], *, runs_on: bool) -> None:
        """Delivers a message to a worker, which takes the orders as far as they go if it `runs_on`."""
        self._news = True
        perform(self._services[self._at].orders, _NAMED[name], order_ids, STEPS if runs_on else ())

    def tick(self) -> dict[str, list[str]]:
        """A tick of beat: ends what is over. Returns the messages that the sweep sends."""
        self._news = True
        services = self._services[self._at]
        expire_holds(services.orders)
        expire_orders(services.orders)
        take_in(services.payments, events_due(services.payments))
        return swept(services)

    def report(self, order_id: str, kind: str, event_id: str) -> int:
        """Sends an event of the payment provider; the status of the answer."""
        call = signed(event(order_id, kind), event_id)
        return (
            self._clients[self._at]
            .post("/payment-events/sandbox", data=call.body, headers=call.headers)
            .status_code
        )

    def erase(self, user_id: str) -> None:
        """Erases a customer's personal data."""
        self._news = True
        erase_customer(self._services[self._at].erasure, user_id)

    def bank(self) -> dict[str, tuple[str, int, int]]:
        """The bank's own statement: by order its status, and what was captured and given back.

        Amounts are in minor units.
        """
        rows = self._database["sandbox_payments"].find()
        return {row["_id"]: (row["status"], row["captured"], row["refunded"]) for row in rows}

    def reconcile(self) -> list[Any]:
        """The differences that a reconciliation of everything reports."""
        services = self._services[1]
        catch_up(services.feed, lambda: False)
        report = reconciled(services)
        assert report["status"] == "finished"
        return [
            (one["kind"], one["ids"], one["expected"], one["found"]) for one in differences(services, report)
        ]

    def _process(self, database: OrderDatabase, settings: Settings) -> Any:
        provider = SandboxProvider(SandboxBooks(database), self.clock, slowness=0, secret=SECRET)
        return services_over(database, settings, clock=self.clock, payments=provider)

    def _as_other(self, action: Callable[[], Any]) -> None:
        self._at = 1
        try:
            action()
        finally:
            self._at = 0


def _die() -> None:
    raise Crash
