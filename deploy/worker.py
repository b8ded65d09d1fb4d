"""The web process's worker: gunicorn's for gevent, which left to itself waits for some slow clients for ever.

For the head of a request, and between two, it waits `keepalive` seconds; for a body the application waits
BODY_TIMEOUT. What is left are clients that do not read their answers.
"""

import secrets
from http import HTTPStatus
from typing import Any

import gevent
import orjson
from gunicorn import util
from gunicorn.workers.ggevent import GeventWorker


class Worker(GeventWorker):
    """Ends every request in time, and refuses what is no proper HTTP in the form of all refusals."""

    request_seconds = 90

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Serves a request; who is too slow for it loses the connection."""
        limit = gevent.Timeout(self.request_seconds)
        try:
            with limit:
                return super().handle_request(listener_name, req, sock, addr)
        except gevent.Timeout as expired:
            if expired is not limit:
                raise
            self.log.warning("A request was not over after %s s", self.request_seconds)
            raise StopIteration from None

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Answers with a problem (RFC 9457), whose status is the one that gunicorn has for it."""
        page = _Page()
        super().handle_error(req, page, addr, exc)
        if not page.text:
            return
        status = HTTPStatus(int(page.text.split(b" ", 2)[1]))
        title = status.phrase.removeprefix("Request-")  # of "Request-URI", as it was called once
        code = "internal_error" if status == 500 else title.lower().replace(" ", "_")
        request_id = secrets.token_hex(16)
        problem = {
            "type": f"urn:problem:order-service:{code}",
            "title": title,
            "status": status,
            "detail": "The request could not be read, so nothing was done.",
            "code": code,
            "requestId": request_id,
        }
        body = orjson.dumps(problem)
        head = (
            f"HTTP/1.1 {status.value} {title}\r\nConnection: close\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-ID: {request_id}\r\nCache-Control: no-store\r\n\r\n"
        )
        try:
            util.write_nonblock(client, head.encode() + body)
        except OSError:
            self.log.debug("Nobody was there to read a refusal.")


class _Page:
    """Takes the page that gunicorn would have sent, in place of the client's socket."""

    text = b""

    def gettimeout(self) -> float:
        return 0.0

    def sendall(self, text: bytes) -> None:
        self.text = text
