"""The metrics, in Prometheus' form. Each process counts for all processes of its kind on its host.

The two tables list every metric. Labels take few values, and never an id, an address or free text.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

# The environment variable of the folder in which processes share counts; the library fixes its name.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# The values of a gauge, by the values of its labels in their order.
Values = Mapping[tuple[str, ...], float]


class Metric(NamedTuple):
    """One metric: its kind, its meaning, the names of its labels, the processes that have it."""

    kind: Literal["counter", "gauge", "histogram"]
    means: str
    labels: tuple[str, ...]
    of: str
    buckets: tuple[float, ...] = ()


# Counted by the process that does the work.
COUNTED = {
    "http_requests_total": Metric("counter", "Requests answered.", ("method", "route", "status"), "web"),
    "http_request_duration_seconds": Metric(
        "histogram", "Time to answer a request.", ("method", "route"), "web", _QUICK
    ),
    "payment_events_total": Metric(
        "counter",
        "Payment events by outcome: received, repeated, done, ignored, orphaned, or still waiting.",
        ("outcome",),
        "web, worker",
    ),
    "clock_skew_seconds": Metric(
        "gauge",
        "How far the machine's clock is ahead of the database's clock, which the service uses.",
        (),
        "web, relay, worker",
    ),
    "relay_lag_seconds": Metric(
        "gauge", "How long the oldest unpublished change of an order has been waiting.", (), "relay"
    ),
    "relay_feed_lag_seconds": Metric(
        "gauge", "How long the oldest change that is not in the event feed has been waiting.", (), "relay"
    ),
    "relay_messages_total": Metric("counter", "Messages published, by task.", ("task",), "relay"),
    "order_events_total": Metric("counter", "Order events that the relay has read.", ("type",), "relay"),
    "beat_messages_total": Metric("counter", "Tasks that beat has started.", ("task",), "beat"),
    "task_duration_seconds": Metric("histogram", "Duration of a task.", ("task",), "worker", _SLOW),
    "task_failures_total": Metric("counter", "Tasks that ended with an error.", ("task",), "worker"),
    "task_ids_total": Metric(
        "counter", "Orders, notifications, endpoints or payment events handed to tasks.", ("task",), "worker"
    ),
    "step_retries_total": Metric(
        "counter", "Attempts at an order's step that will be repeated.", ("step",), "worker"
    ),
    "step_errors_total": Metric(
        "counter", "Failed attempts at an order's step, by the code of the error.", ("step", "code"), "worker"
    ),
    "steps_sent_again_total": Metric(
        "counter", "Steps that were overdue and sent again by the sweep.", ("step",), "worker"
    ),
    "deliveries_total": Metric(
        "counter",
        "Delivery attempts by outcome: sent, to be retried, failed for good, or withheld.",
        ("channel", "outcome"),
        "worker",
    ),
    "webhook_duration_seconds": Metric("histogram", "Duration of a webhook request.", (), "worker", _SLOW),
}

# Read from the database and the broker on request; every web process answers the same.
STATE = {
    "orders": Metric("gauge", "Orders that are not deleted, at the last count.", ("status",), "web"),
    "orders_counted_timestamp_seconds": Metric("gauge", "Time of the last count of orders.", (), "web"),
    "oldest_pending_order_seconds": Metric(
        "gauge", "Age of the oldest pending order; 0 without one.", (), "web"
    ),
    "oldest_overdue_step_seconds": Metric(
        "gauge", "How long the oldest overdue step has been overdue; 0 without one.", (), "web"
    ),
    "steps_overdue": Metric("gauge", "Orders with an overdue step, 10,000 at most.", (), "web"),
    "deliveries_waiting": Metric(
        "gauge", "Notifications and webhooks not yet delivered, 10,000 at most.", ("channel",), "web"
    ),
    "payment_events_waiting": Metric(
        "gauge", "Payment events that are not finished yet, 10,000 at most.", (), "web"
    ),
    "reconciliation_differences": Metric(
        "gauge", "Differences found by the last finished reconciliation.", ("kind",), "web"
    ),
    "reconciliation_ended_timestamp_seconds": Metric(
        "gauge", "End of the last finished reconciliation.", (), "web"
    ),
    "part_ready": Metric("gauge", "1 while the part is healthy.", ("part",), "web"),
    "lease_held": Metric("gauge", "1 while a process of this role holds the lease.", ("role",), "web"),
    "queue_messages": Metric("gauge", "Messages that wait in the broker.", ("queue",), "web"),
}


class Metrics:
    """The counts of a process. Create it after the process has forked."""

    def __init__(self) -> None:
        if folder := os.environ.get(FOLDER):
            Path(folder).mkdir(parents=True, exist_ok=True)
        # The library checks for the shared folder when it is imported.
        import prometheus_client  # noqa: PLC0415

        self.content_type = prometheus_client.CONTENT_TYPE_LATEST
        self._registry = prometheus_client.CollectorRegistry()
        self._kinds: dict[str, Any] = {
            "counter": prometheus_client.Counter,
            "histogram": prometheus_client.Histogram,
            "gauge": prometheus_client.Gauge,
        }
        # Created at first use, so that a process shows only metrics that it uses.
        self._metrics: dict[str, Any] = {}
        self._making = threading.Lock()
        # The library's own lookup by labels costs more than the counting.
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._requests: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Adds to a counter."""
        self._child(name, labels).inc(by)

    def time(self, name: str, *labels: str, seconds: float) -> None:
        """Adds a time to a histogram."""
        self._child(name, labels).observe(seconds)

    def show(self, name: str, value: float) -> None:
        """Sets a gauge."""
        self._child(name, ()).set(value)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        # A client can invent methods, which must not fill the memory.
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
        """The counts of all processes that share them, and the state, in Prometheus' text form."""
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
    """The counts of all processes that share the folder; None without a folder."""
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
    """Gauges that were read just now. They are not shared with other processes."""

    def __init__(self, state: Mapping[str, Values]) -> None:
        self._state = state

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        for name, values in self._state.items():
            family = GaugeMetricFamily(name, STATE[name].means, labels=STATE[name].labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
