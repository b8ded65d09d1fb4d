"""The gauges of the metrics that describe the whole service, read from the database and the broker."""

import threading
import time
from datetime import datetime, timedelta

import structlog

from app.errors import DatabaseUnavailable
from app.observability.metrics import Values
from app.orders.counts_store import OrderCount
from app.reconciliation.kinds import KINDS
from app.services import Services

log = structlog.get_logger()

# How often orders are counted. Counting takes at most one fiftieth of the time, for any number of orders.
COUNT_EVERY = timedelta(minutes=1)
_SHARE = 50
# Seconds for which a reading stays valid, so that frequent scrapes cost no more.
_FRESH = 5.0

State = dict[str, Values]


class Gauges:
    """Reads the gauges at most once every few seconds, however many requests ask for them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asking = threading.Lock()
        self._state: State = {}
        self._good_until = 0.0

    def state(self) -> State:
        """Every gauge that can be read now. Without the database, these are few."""
        with self._asking:
            if time.monotonic() > self._good_until:
                self._state = _state(self._services)
                self._good_until = time.monotonic() + _FRESH
            return self._state


def count_orders(services: Services) -> bool:
    """Counts the orders by status, unless the last count is recent. Returns whether it counted."""
    last, now = services.counts.last_count(), services.clock()
    if last and now < last.at + max(COUNT_EVERY, timedelta(seconds=last.seconds * _SHARE)):
        return False
    began = time.monotonic()
    counted = services.counts.count_orders()
    services.counts.keep(OrderCount(counted, now, round(time.monotonic() - began, 3)))
    return True


def _state(services: Services) -> State:
    parts = services.states()
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
