"""The routes of the service itself: health, metrics and the OpenAPI document."""

import secrets
from http import HTTPStatus
from pathlib import Path

import flask_swagger_ui
import orjson
from flask import Response, current_app, render_template, request, send_from_directory

from app.http import examples, schemas
from app.http.answers import answer
from app.http.parsing import Blueprint
from app.http.problems import problem
from app.http.request_context import services
from app.http.route_metadata import OPEN, declares
from app.http.security_headers import page_policy

# Without the broker, orders are still accepted and processed later.
_NEEDED = ("database", "migrations")
_ASSETS = Path(flask_swagger_ui.__file__).parent / "dist"

blueprint = Blueprint(
    "service", __name__, description="Health, metrics and documentation.", template_folder="templates"
)


@blueprint.get("/healthz")
@blueprint.response(200, schemas.Health, example=examples.HEALTH)
@declares(OPEN)
def get_health() -> Response:
    """Check that the process is alive"""
    return answer({"status": "ok"})


@blueprint.get("/readyz")
@blueprint.response(200, schemas.Readiness, example=examples.READINESS)
@declares(OPEN, "not_ready")
def get_readiness() -> Response:
    """Check that orders can be accepted

    `checks` includes the broker, but the service accepts orders without it.
    """
    checks = services().states()
    if all(checks[name] == "ok" for name in _NEEDED):
        return answer({"status": "ready", "checks": checks})
    return problem("not_ready", "A dependency that orders need is not ready. See checks.", checks=checks)


@blueprint.get("/metrics")
@blueprint.response(200, {"type": "string"}, content_type="text/plain")
@declares(OPEN)
def get_metrics() -> Response:
    """Get metrics for Prometheus, summed over the worker processes"""
    counted, state = services().metrics, current_app.extensions["gauges"].state()
    return Response(counted.text(state), HTTPStatus.OK, content_type=counted.content_type)


@blueprint.get("/openapi.json")
@blueprint.response(200, {"type": "object"})
@declares(OPEN)
def get_api_description() -> Response:
    """Get this API as an OpenAPI 3.1 document"""
    description = current_app.extensions["description"]()
    if request.script_root:
        # A proxy serves the API under a prefix.
        servers = [{"url": request.script_root}]
        description = orjson.dumps({**orjson.loads(description), "servers": servers})
    return Response(description, content_type="application/json")


@blueprint.get("/docs")
@blueprint.response(200, {"type": "string"}, content_type="text/html")
@declares(OPEN)
def get_docs() -> Response:
    """Get a page that documents this API"""
    nonce = secrets.token_urlsafe(16)
    page = render_template("docs.html", nonce=nonce)
    policy = {"Content-Security-Policy": page_policy(nonce)}
    return Response(page, headers=policy, content_type="text/html; charset=utf-8")


@declares(OPEN)
def get_docs_asset(name: str) -> Response:
    """A static file of that page."""
    return send_from_directory(_ASSETS, name, max_age=86400)
