"""A real OpenTelemetry collector as far as a test needs one: takes spans over OTLP/HTTP and keeps them."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

HOST = "127.0.0.1"


class Taken(NamedTuple):
    """One span, with the process that sent it."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    attributes: dict[str, Any]
    links: list[str]
    status: int
    process: str
    service: str


class Collector:
    """Listens until the block ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Taken] = []
        self.raw: list[bytes] = []
        self._server = ThreadingHTTPServer((HOST, 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def settings(self) -> dict[str, str]:
        """The settings by which a stack sends its traces here at once."""
        endpoint = f"http://{HOST}:{self._server.server_address[1]}"
        return {
            "TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    @property
    def spans(self) -> list[Taken]:
        """All spans taken so far."""
        with self._lock:
            return list(self._spans)

    def of_trace(self, trace_id: str) -> list[Taken]:
        """Those of one trace."""
        return [span for span in self.spans if span.trace_id == trace_id]

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.raw.append(body)
            for sent in request.resource_spans:
                resource = {one.key: one.value.string_value for one in sent.resource.attributes}
                process, service = resource["service.instance.id"], resource["service.name"]
                for scope in sent.scope_spans:
                    self._spans += [_taken(span, process, service) for span in scope.spans]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            """One connection."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_zipped = self.headers.get("Content-Encoding") == "gzip"
                collector._take(gzip.decompress(body) if is_zipped else body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _taken(span: Any, process: str, service: str) -> Taken:
    return Taken(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.kind,
        {one.key: one.value.string_value or one.value.int_value for one in span.attributes},
        [link.trace_id.hex() for link in span.links],
        span.status.code,
        process,
        service,
    )
