"""What is measured, in Prometheus' form: counted by each process for all processes of its kind on its host.

The tables are the one list of it. Labels take few values, and never an id, an address or another's words.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

# Where processes of one kind put their counts together; the name is the library's.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# The values of a gauge with labels, by those of the labels in their order.
Values = Mapping[tuple[str, ...], float]


class Metric(NamedTuple):
    """One metric: its kind, what it says, the names of its labels, which process has it."""

    kind: Literal["counter", "gauge", "histogram"]
    means: str
    labels: tuple[str, ...]
    of: str
    buckets: tuple[float, ...] = ()


# Counted where it happens.
COUNTED = {
    "http_requests_total": Metric("counter", "Requests answered.", ("method", "route", "status"), "web"),
    "http_request_duration_seconds": Metric(
        "histogram", "Time to answer a request.", ("method", "route"), "web", _QUICK
    ),
    "payment_events_total": Metric(
        "counter",
        "Payment events received or repeated; and worked on: done, ignored, orphaned, or waiting still.",
        ("outcome",),
        "web, worker",
    ),
    "clock_skew_seconds": Metric(
        "gauge",
        "How far the machine's clock is ahead of the database's, which is used.",
        (),
        "web, relay, worker",
    ),
    "relay_lag_seconds": Metric(
        "gauge", "How long the oldest change has been waiting that the relay has not published.", (), "relay"
    ),
    "relay_feed_lag_seconds": Metric(
        "gauge", "How long the oldest change has been waiting that is not in the event feed.", (), "relay"
    ),
    "relay_messages_total": Metric("counter", "Messages published, by their task.", ("task",), "relay"),
    "order_events_total": Metric("counter", "Events of orders that the relay has read.", ("type",), "relay"),
    "beat_messages_total": Metric("counter", "Tasks that beat has started.", ("task",), "beat"),
    "task_duration_seconds": Metric("histogram", "Time that a task took.", ("task",), "worker", _SLOW),
    "task_failures_total": Metric("counter", "Tasks that a fault has ended.", ("task",), "worker"),
    "task_ids_total": Metric(
        "counter", "Orders, notifications, endpoints or payment events handed to tasks.", ("task",), "worker"
    ),
    "step_retries_total": Metric(
        "counter", "Attempts at an order's step that are to be repeated.", ("step",), "worker"
    ),
    "steps_sent_again_total": Metric(
        "counter", "Steps that were not done in time and sent again by the sweep.", ("step",), "worker"
    ),
    "deliveries_total": Metric(
        "counter",
        "Attempts to tell of an event: sent, to be tried again, failed for good, or withheld.",
        ("channel", "outcome"),
        "worker",
    ),
    "webhook_duration_seconds": Metric("histogram", "Time that a webhook took.", (), "worker", _SLOW),
}

# Read from the database and the broker when asked for; every web process tells the same.
STATE = {
    "orders": Metric("gauge", "Orders that are not deleted, as of the last count.", ("status",), "web"),
    "orders_counted_timestamp_seconds": Metric("gauge", "When the orders were last counted.", (), "web"),
    "oldest_pending_order_seconds": Metric(
        "gauge", "Age of the oldest order that is still pending; 0 where none is.", (), "web"
    ),
    "oldest_overdue_step_seconds": Metric(
        "gauge", "How long the step is overdue that is overdue longest; 0 where none is.", (), "web"
    ),
    "steps_overdue": Metric("gauge", "Orders with a step that is overdue, 10,000 at most.", (), "web"),
    "deliveries_waiting": Metric(
        "gauge", "Notifications and webhooks not yet delivered, 10,000 at most.", ("channel",), "web"
    ),
    "payment_events_waiting": Metric(
        "gauge", "Payment events not yet worked on to their end, 10,000 at most.", (), "web"
    ),
    "reconciliation_differences": Metric(
        "gauge", "Differences that the last finished reconciliation found.", ("kind",), "web"
    ),
    "reconciliation_ended_timestamp_seconds": Metric(
        "gauge", "When the last finished reconciliation ended.", (), "web"
    ),
    "part_ready": Metric("gauge", "1 while the part is as it should be.", ("part",), "web"),
    "lease_held": Metric("gauge", "1 while a process of this role works.", ("role",), "web"),
    "queue_messages": Metric("gauge", "Messages waiting in the broker.", ("queue",), "web"),
}


class Metrics:
    """The counts of a process; made after it has forked."""

    def __init__(self) -> None:
        if folder := os.environ.get(FOLDER):
            Path(folder).mkdir(parents=True, exist_ok=True)
        # At its import the library looks whether there is a folder to share counts in.
        import prometheus_client  # noqa: PLC0415

        self.content_type = prometheus_client.CONTENT_TYPE_LATEST
        self._registry = prometheus_client.CollectorRegistry()
        self._kinds: dict[str, Any] = {
            "counter": prometheus_client.Counter,
            "histogram": prometheus_client.Histogram,
            "gauge": prometheus_client.Gauge,
        }
        # Made when first used, so that a process tells of nothing that it has nothing to do with.
        self._metrics: dict[str, Any] = {}
        self._making = threading.Lock()
        # Looking a child up by its labels costs more than counting.
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._requests: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Adds to a counter."""
        self._child(name, labels).inc(by)

    def time(self, name: str, *labels: str, seconds: float) -> None:
        """Puts a time into a histogram."""
        self._child(name, labels).observe(seconds)

    def show(self, name: str, value: float) -> None:
        """Sets a gauge."""
        self._child(name, ()).set(value)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        # A client can make up methods, but not fill the memory with them.
        key = (method if method in _METHODS else "other", route, status)
        if key not in self._requests:
            method, route = key[:2]
            self._requests[key] = (
                self._child("http_requests_total", (method, route, str(status))),
                self._child("http_request_duration_seconds", (method, route)),
            )
        counter, histogram = self._requests[key]
        counter.inc()
        histogram.observe(seconds)

    def text(self, state: Mapping[str, Values]) -> bytes:
        """All counts in Prometheus' text form, of all processes that share them, and the state."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

        stated = CollectorRegistry()
        stated.register(_State(state))
        return generate_latest(shared_registry() or self._registry) + generate_latest(stated)

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:
        child = self._children.get((name, labels))
        if child is None:
            metric = self._metrics.get(name) or self._make(name)
            child = self._children[name, labels] = metric.labels(*labels) if labels else metric
        return child

    def _make(self, name: str) -> Any:
        with self._making:
            if name not in self._metrics:
                kind, means, labels = COUNTED[name][:3]
                options = {"registry": self._registry, **_options(COUNTED[name])}
                self._metrics[name] = self._kinds[kind](name, means, labels, **options)
            return self._metrics[name]


def shared_registry() -> Any:
    """What all processes have counted that share a folder; None where there is none."""
    if FOLDER not in os.environ:
        return None
    from prometheus_client import CollectorRegistry, multiprocess  # noqa: PLC0415

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return registry


def _options(metric: Metric) -> dict[str, Any]:
    if metric.kind == "histogram":
        return {"buckets": metric.buckets}
    return {"multiprocess_mode": "mostrecent"} if metric.kind == "gauge" else {}


class _State:
    """Gauges that were read just now; they are shared with no other process."""

    def __init__(self, state: Mapping[str, Values]) -> None:
        self._state = state

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        for name, values in self._state.items():
            family = GaugeMetricFamily(name, STATE[name].means, labels=STATE[name].labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
