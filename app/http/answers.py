"""JSON responses, entity tags, and the headers of answers with their descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from flask import Response, request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.datastructures import Headers


NEXT = {
    "Link": {
        "schema": {"type": "string"},
        "description": 'The next page, with `rel="next"`; absent on the last page.',
    }
}
REPLAYED = {
    "Idempotent-Replayed": {
        "schema": {"const": "true"},
        "description": "Present if this is the answer to an earlier request.",
    }
}


def location(what: str) -> dict[str, Any]:
    """The description of the header with the path of a new order, refund or endpoint."""
    path = {"type": "string", "format": "uri-reference"}
    return {"Location": {"schema": path, "description": f"The path of the new {what}."}}


def located(name: str) -> dict[str, str]:
    """The header with the path of a new resource, which is below the path of the request."""
    return {"Location": f"{request.script_root}{request.path.rstrip('/')}/{name}"}


class Answer(Response):
    """A response with complete headers, which saves werkzeug's own pass over them."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """The headers, unchanged."""
        return self.headers


def answer(
    body: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    media_type: str = "application/json",
) -> Response:
    """A response with a JSON body."""
    return Answer(orjson.dumps(body), status, headers, content_type=media_type)


def entity_tag(version: int) -> str:
    """The ETag of a version: `"v3"`."""
    return f'"v{version}"'


def empty(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A response without a body."""
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response
