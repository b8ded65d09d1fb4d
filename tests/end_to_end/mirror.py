"""The service with one more route, which shows how a request looks to the application."""

from __future__ import annotations

from flask import Response, g, request

from app import create_app
from app.http.answers import answer
from app.http.route_metadata import OPEN, declares

app = create_app()


@app.get("/mirror")
@declares(OPEN)
def mirror() -> Response:
    """Shows the request as the application sees it."""
    return answer(
        {
            "url": request.url,
            "address": request.remote_addr,
            "prefix": request.script_root,
            "requestId": g.request_id,
        }
    )
