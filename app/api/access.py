"""What every request gets: an id that ties all together, a log line, a count, and an answer it can read."""

import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

from app.api.metrics import Metrics
from app.api.problems import Problem

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Asked for every few seconds by machines, so not worth a line each.
_UNLOGGED = frozenset(("service.healthz", "service.readyz", "service.metrics"))

log = structlog.get_logger()


def init_app(app: Flask, metrics: Metrics) -> None:
    """Hooks into every request of the application."""

    def arrive() -> None:
        g.began = time.perf_counter()
        given = request.environ.get("HTTP_X_REQUEST_ID", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    def leave(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.request_id
        took = time.perf_counter() - g.began
        route = request.url_rule.rule if request.url_rule else "unmatched"
        metrics.observe(request.method, route, response.status_code, took)
        if request.endpoint not in _UNLOGGED:
            log.info(
                "request",
                method=request.method,
                route=route,
                status=response.status_code,
                ms=round(took * 1000, 1),
                **(request.view_args or {}),
            )
        return response

    app.before_request(arrive)
    app.after_request(leave)


def require_json_accepted() -> None:
    """Raises Problem where the client takes no JSON, before anything is done for it."""
    accept = request.environ.get("HTTP_ACCEPT", "")
    if accept not in ("", "*/*", "application/json") and not request.accept_mimetypes["application/json"]:
        raise Problem("not_acceptable", "Answers are application/json.")
