"""Wraps every request: its id, authentication, the log line and the metrics."""

import re
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from flask import Flask, Response, g, request
from flask.globals import request_ctx

from app.errors import NotFound, NotSignedIn
from app.http.access import ANYONE, Caller
from app.http.forwarded import FORWARDED_FOR
from app.http.problems import NO_PATH, Problem
from app.http.request_context import require
from app.http.route_metadata import OPEN, Declared

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from app.services import Services

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Machines call these every few seconds, so they are not logged.
METRICS = "service.get_metrics"
_UNLOGGED = frozenset(("service.get_health", "service.get_readiness", METRICS))

WhoCalls = Callable[[str], Caller]

log = structlog.get_logger()


def init_app(app: Flask, who_calls: WhoCalls | None) -> None:
    """Registers the hooks. `who_calls` verifies a token; None lets everyone call everything."""
    services: Services = app.extensions["services"]
    metrics_port = str(services.settings.metrics_port or "")

    def arrive() -> None:
        own, environ = g._get_current_object(), request.environ
        own.began = time.perf_counter()
        own.request_id, own.trace = _request_id(environ), services.tracer.arrive(environ)
        structlog.contextvars.clear_contextvars()
        traced = {"trace_id": own.trace.trace_id} if own.trace.trace_id else {}
        structlog.contextvars.bind_contextvars(request_id=own.request_id, **traced)

    def admit() -> None:
        """Checks the caller's scope, and limits `g.services` to the orders that the caller may see."""
        endpoint, own = request.endpoint, g._get_current_object()
        if endpoint is None:
            return
        if not _is_shown(endpoint, metrics_port):
            raise NotFound(NO_PATH)
        declared: Declared | None = getattr(app.view_functions[endpoint], "declared", None)
        if declared is None:
            raise NotFound(NO_PATH)
        own.services, own.caller = services, ANYONE
        if who_calls is None or declared.scope is OPEN:
            return
        own.caller = who_calls(_token())
        require(declared.scope)
        owner = own.caller.owner(declared.scope)
        if owner is not None:
            own.services = services.of(owner)

    def leave(response: Response) -> Response:
        # Each use of Flask's proxies looks up the context again.
        asked, own, status = request_ctx.request, g._get_current_object(), response.status_code
        response.headers["X-Request-ID"] = own.request_id
        took = time.perf_counter() - own.began
        route = asked.url_rule.rule if asked.url_rule else "unmatched"
        services.metrics.answered(asked.method, route, status, took)
        own.trace.leave(asked.method, route, status)
        if asked.endpoint not in _UNLOGGED:
            log.info(
                "request",
                method=asked.method,
                route=route,
                status=status,
                ms=round(took * 1000, 1),
                **(asked.view_args or {}),
            )
        return response

    app.before_request(arrive)
    app.before_request(admit)
    app.after_request(leave)


def _is_shown(endpoint: str, metrics_port: str) -> bool:
    """Whether the endpoint exists on this port. Without a metrics port, proxies do not get metrics."""
    if not metrics_port:
        return endpoint != METRICS or FORWARDED_FOR not in request.environ
    return (request.environ["SERVER_PORT"] == metrics_port) == (endpoint == METRICS)


def _request_id(environ: "WSGIEnvironment") -> str:
    given = environ.get("HTTP_X_REQUEST_ID", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _token() -> str:
    """The bearer token of the request (RFC 6750). Raises NotSignedIn."""
    scheme, _, given = request.environ.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise NotSignedIn
    return given.strip()


def require_json_accepted() -> None:
    """Raises Problem if the client does not accept JSON. It runs before the view."""
    accept = request.environ.get("HTTP_ACCEPT", "")
    if accept not in ("", "*/*", "application/json") and not request.accept_mimetypes["application/json"]:
        raise Problem("not_acceptable", "The Accept header must allow application/json.")
