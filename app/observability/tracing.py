"""The interface for traces: one trace per order, from its POST to its last delivery.

This module is the variant without tracing. `app/observability/traces.py` sends traces by OpenTelemetry.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app.orders.model import Order


class Arrived:
    """A request under way. `traceparent` (W3C) links later work to its trace; it is empty without tracing."""

    traceparent = ""
    trace_id = ""

    def leave(self, method: str, route: str, status: int) -> None:
        """Ends the request."""


_UNTRACED = Arrived()


class Tracer:
    """Traces nothing and costs nothing."""

    def arrive(self, environ: Mapping[str, str]) -> Arrived:
        """Begins a request, in the client's trace if the request names one."""
        return _UNTRACED

    @contextmanager
    def publishing(self, task: str) -> Iterator[dict[str, str]]:
        """Covers the publishing of a message; yields the headers for it."""
        yield {}

    @contextmanager
    def working(self, task: str, traceparent: str | None) -> Iterator[str | None]:
        """Covers the work of a task; yields the id of its trace."""
        yield None

    @contextmanager
    def orders(
        self, name: str, orders: Sequence[Order], *, outward: bool = False
    ) -> Iterator[dict[str, str]]:
        """Covers work on many orders, in the trace of each; yields their traceparents by order id."""
        yield {}

    def close(self) -> None:
        """Sends the traces that are not sent yet."""


def trace_id(traceparent: str) -> str:
    """The id of the trace that a traceparent names."""
    return traceparent.split("-")[1]


def about(order: Order) -> dict[str, str]:
    """The log fields that identify an order: its id, the id of its creating request, the id of its trace.

    Never raises, even for a damaged order, since error lines need these fields.
    """
    fields, origin = {"order_id": order["id"]}, order.get("origin")
    if isinstance(origin, dict):
        with suppress(LookupError, AttributeError):
            fields["request_id"] = origin["requestId"]
        with suppress(LookupError, AttributeError):
            fields["trace_id"] = trace_id(origin["traceparent"])
    return fields
