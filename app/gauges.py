"""How the service is doing, as its metrics tell it: read from the database and the broker when asked for."""

import threading
import time
from datetime import datetime, timedelta

import structlog

from app.errors import DatabaseUnavailable
from app.http.readiness import readiness
from app.observability.metrics import Values
from app.orders.counts_store import OrderCount
from app.reconciliation.kinds import KINDS
from app.services import Services

log = structlog.get_logger()

# How often orders are counted; the counting has one fiftieth of the time at most, however many there are.
COUNT_EVERY = timedelta(minutes=1)
_SHARE = 50
# Seconds that an answer is good for, so that asking often costs no more.
_FRESH = 5.0

State = dict[str, Values]


class Gauges:
    """Asks at most once in a few seconds, whoever wants to know."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asking = threading.Lock()
        self._state: State = {}
        self._good_until = 0.0

    def state(self) -> State:
        """Every gauge that can be told now; without the database, not many."""
        with self._asking:
            if time.monotonic() > self._good_until:
                self._state = _state(self._services)
                self._good_until = time.monotonic() + _FRESH
            return self._state


def count_orders(services: Services) -> bool:
    """Counts the orders by status, unless that was done a short while ago; whether it was due."""
    last, now = services.counts.last_count(), services.clock()
    if last and now < last.at + max(COUNT_EVERY, timedelta(seconds=last.seconds * _SHARE)):
        return False
    began = time.monotonic()
    counted = services.counts.count_orders()
    services.counts.keep(OrderCount(counted, now, round(time.monotonic() - began, 3)))
    return True


def _state(services: Services) -> State:
    parts = readiness(services.probes)
    state: State = {
        "part_ready": {(part,): float(said == "ok") for part, said in parts.items()},
        "queue_messages": {(queue,): n for queue, n in services.broker.waiting().items()},
        "lease_held": {(role,): n for role, n in services.broker.leases().items()},
    }
    if parts["database"] == "ok":
        try:
            state |= _of_database(services)
        except DatabaseUnavailable:
            log.warning("the state cannot be read, the database is unavailable")
    return state


def _of_database(services: Services) -> State:
    counts, now = services.counts, services.clock()
    state: State = {
        "oldest_pending_order_seconds": {(): _since(counts.oldest_pending(), now)},
        "oldest_overdue_step_seconds": {(): _since(counts.oldest_due(), now)},
        "steps_overdue": {(): counts.overdue(now)},
        "deliveries_waiting": {(channel,): n for channel, n in counts.waiting().items()},
        "payment_events_waiting": {(): counts.payment_events()},
    }
    if count := counts.last_count():
        state["orders"] = {(status,): n for status, n in count.orders.items()}
        state["orders_counted_timestamp_seconds"] = {(): count.at.timestamp()}
    if last := counts.last_reconciliation():
        ended, found = last
        state["reconciliation_differences"] = {(kind,): found.get(kind, 0) for kind in KINDS}
        state["reconciliation_ended_timestamp_seconds"] = {(): ended.timestamp()}
    return state


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0
