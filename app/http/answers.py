"""JSON out, and the entity tag that every version of a thing has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from flask import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.datastructures import Headers


class Answer(Response):
    """A response whose headers are complete as they are, so that werkzeug need not go over them again."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """The headers as they are sent."""
        return self.headers


def answer(
    body: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    media_type: str = "application/json",
) -> Response:
    """An answer with a JSON body."""
    return Answer(orjson.dumps(body), status, headers, content_type=media_type)


def entity_tag(version: int) -> str:
    """The ETag of a version: `"v3"`."""
    return f'"v{version}"'


def empty(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a body."""
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response
