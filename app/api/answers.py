"""JSON out, and the entity tag that every version of a thing has."""

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response


def answer(
    body: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    media_type: str = "application/json",
) -> Response:
    """An answer with a JSON body."""
    return Response(orjson.dumps(body), status, headers, content_type=media_type)


def entity_tag(version: int) -> str:
    """The ETag of a version: `"v3"`."""
    return f'"v{version}"'


def empty(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a body."""
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response
