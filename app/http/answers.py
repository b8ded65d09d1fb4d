"""JSON responses, and the entity tags of versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from flask import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.datastructures import Headers


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
