"""Traces, as those who work see them: one of each order, from its POST to what was told of it last.

Here is what happens where nothing is traced, which is nothing. `app/observability/traces.py` has
OpenTelemetry's.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app.orders.model import Order


class Arrived:
    """A request under way; `traceparent` (W3C) is where what it sets in motion goes on, if it is traced."""

    traceparent = ""
    trace_id = ""

    def leave(self, method: str, route: str, status: int) -> None:
        """Ends it."""


_UNTRACED = Arrived()


class Tracer:
    """Traces nothing, at no cost."""

    def arrive(self, environ: Mapping[str, str]) -> Arrived:
        """Begins a request in the trace of the client, if it names one."""
        return _UNTRACED

    @contextmanager
    def publishing(self, task: str) -> Iterator[dict[str, str]]:
        """The publishing of a message; the headers that it should carry."""
        yield {}

    @contextmanager
    def working(self, task: str, traceparent: str | None) -> Iterator[str | None]:
        """The work of a task; the id of its trace."""
        yield None

    @contextmanager
    def orders(
        self, name: str, orders: Sequence[Order], *, outward: bool = False
    ) -> Iterator[dict[str, str]]:
        """Work on many orders at once, shown in the trace of each; the traceparents by order id, if any."""
        yield {}

    def close(self) -> None:
        """Hands over what is not handed over yet."""


def trace_id(traceparent: str) -> str:
    """The id of the trace that a traceparent names."""
    return traceparent.split("-")[1]


def about(order: Order) -> dict[str, str]:
    """What a log line says of an order: its id, that of the request that made it, that of its trace.

    Safe for an order in any state, since it names the one that something is wrong with.
    """
    told, origin = {"order_id": order["id"]}, order.get("origin")
    if isinstance(origin, dict):
        with suppress(LookupError, AttributeError):
            told["request_id"] = origin["requestId"]
        with suppress(LookupError, AttributeError):
            told["trace_id"] = trace_id(origin["traceparent"])
    return told
