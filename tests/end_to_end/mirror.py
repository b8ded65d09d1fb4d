"""The service with one more route, which tells how a request looks to it."""

from __future__ import annotations

from flask import Response, g, request

from app import create_app
from app.http.answers import answer
from app.http.route_metadata import OPEN, declares

app = create_app()


@app.get("/mirror")
@declares(OPEN)
def mirror() -> Response:
    """Tells what the application takes the request for."""
    return answer(
        {
            "url": request.url,
            "address": request.remote_addr,
            "prefix": request.script_root,
            "requestId": g.request_id,
        }
    )
