"""Traces by OpenTelemetry, sent over OTLP. Its own variables (`OTEL_…`) set the target and the sampling."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.observability.tracing import Arrived, Tracer, about, trace_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app.orders.model import Order

_SERVICE = "order-service"
_SERVER_ERROR = 500
_W3C = TraceContextTextMapPropagator()


class Request(Arrived):
    """A request under way."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _traceparent(span)
        self.trace_id = trace_id(self.traceparent)

    def leave(self, method: str, route: str, status: int) -> None:
        """Ends the request."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= _SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Traces(Tracer):
    """Sends the spans of this process in the background. Create it after the process has forked."""

    def __init__(self) -> None:
        self._provider = TracerProvider(resource=_resource())
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("app")

    def arrive(self, environ: Mapping[str, str]) -> Request:
        """Begins a request, in the client's trace if the request names one."""
        given = {name: environ.get(f"HTTP_{name.upper()}", "") for name in ("traceparent", "tracestate")}
        return Request(self._tracer.start_span("request", _W3C.extract(given, Context()), SpanKind.SERVER))

    @contextmanager
    def publishing(self, task: str) -> Iterator[dict[str, str]]:
        """A span of the publisher, in the trace of the message."""
        with self._current(f"publish {task}", SpanKind.PRODUCER, None) as span:
            yield {"traceparent": _traceparent(span)}

    @contextmanager
    def working(self, task: str, traceparent: str | None) -> Iterator[str | None]:
        """A span of the task, in the trace of the message."""
        with self._current(task, SpanKind.CONSUMER, _context(traceparent)) as span:
            yield trace_id(_traceparent(span))

    @contextmanager
    def orders(
        self, name: str, orders: Sequence[Order], *, outward: bool = False
    ) -> Iterator[dict[str, str]]:
        """A span in the trace of each order. This span and the span of the task link to each other."""
        task = trace.get_current_span()
        links = [Link(task.get_span_context())] if task.get_span_context().is_valid else []
        with ExitStack() as all_of_them:
            spans = {
                order["id"]: all_of_them.enter_context(self._of_order(name, order, links, outward))
                for order in orders
                if "trace_id" in about(order)
            }
            for span in spans.values():
                task.add_link(span.get_span_context())
            yield {order_id: _traceparent(span) for order_id, span in spans.items()}

    def close(self) -> None:
        """Sends the spans that are not sent yet."""
        self._provider.shutdown()

    @contextmanager
    def _current(self, name: str, kind: SpanKind, context: Context | None) -> Iterator[Span]:
        span = self._tracer.start_span(name, context, kind)
        with trace.use_span(span, record_exception=False, set_status_on_exception=False), _ended(span):
            yield span

    @contextmanager
    def _of_order(self, name: str, order: Order, links: Sequence[Link], outward: bool) -> Iterator[Span]:
        span = self._tracer.start_span(
            name,
            _context(order["origin"]["traceparent"]),
            SpanKind.CLIENT if outward else SpanKind.INTERNAL,
            {"order.id": order["id"]},
            links,
        )
        with _ended(span):
            yield span


@contextmanager
def _ended(span: Span) -> Iterator[None]:
    """Ends the span. Of an error it records the type alone, since the message may quote a customer."""
    try:
        yield
    except BaseException as error:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        span.end()


def _context(traceparent: str | None) -> Context:
    return _W3C.extract({"traceparent": traceparent} if traceparent else {}, Context())


def _traceparent(span: Span) -> str:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier["traceparent"]


def _resource() -> Resource:
    ours = {"service.instance.id": f"{socket.gethostname()}-{os.getpid()}"}
    resource = Resource.create(ours)
    if str(resource.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": _SERVICE}))
    return resource
