"""The routes of the service itself: health, metrics, and the API's own description."""

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
from app.http.readiness import is_ready, readiness
from app.http.request_context import services
from app.http.route_metadata import OPEN, declares
from app.http.security_headers import page_policy

_ASSETS = Path(flask_swagger_ui.__file__).parent / "dist"

blueprint = Blueprint("service", __name__, description="The service itself.", template_folder="templates")


@blueprint.get("/healthz")
@blueprint.response(200, schemas.Health, example=examples.HEALTH)
@declares(OPEN)
def get_health() -> Response:
    """Say that the process lives"""
    return answer({"status": "ok"})


@blueprint.get("/readyz")
@blueprint.response(200, schemas.Readiness, example=examples.READINESS)
@declares(OPEN, "not_ready")
def get_readiness() -> Response:
    """Say whether orders can be taken

    The broker is reported; without it orders are taken all the same.
    """
    checks = readiness(services().probes)
    if is_ready(checks):
        return answer({"status": "ready", "checks": checks})
    return problem("not_ready", "A dependency that orders need is not ready. See checks.", checks=checks)


@blueprint.get("/metrics")
@blueprint.response(200, {"type": "string"}, content_type="text/plain")
@declares(OPEN)
def get_metrics() -> Response:
    """Tell Prometheus what was measured, across the worker processes"""
    counted, state = services().metrics, current_app.extensions["gauges"].state()
    return Response(counted.text(state), HTTPStatus.OK, content_type=counted.content_type)


@blueprint.get("/openapi.json")
@blueprint.response(200, {"type": "object"})
@declares(OPEN)
def get_api_description() -> Response:
    """Describe this API in OpenAPI 3.1"""
    description = current_app.extensions["description"]
    if request.script_root:
        # A proxy has the whole API under a path of its own.
        servers = [{"url": request.script_root}]
        description = orjson.dumps({**orjson.loads(description), "servers": servers})
    return Response(description, content_type="application/json")


@blueprint.get("/docs")
@blueprint.response(200, {"type": "string"}, content_type="text/html")
@declares(OPEN)
def get_docs() -> Response:
    """Show this API on a page to try it out"""
    nonce = secrets.token_urlsafe(16)
    page = render_template("docs.html", nonce=nonce)
    policy = {"Content-Security-Policy": page_policy(nonce)}
    return Response(page, headers=policy, content_type="text/html; charset=utf-8")


@declares(OPEN)
def get_docs_asset(name: str) -> Response:
    """A script or style of the page."""
    return send_from_directory(_ASSETS, name, max_age=86400)
