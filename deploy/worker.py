"""The worker of the web process: gunicorn's for gevent, with limits for slow clients."""

import contextlib
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import gevent
import orjson
from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.workers.ggevent import GeventWorker

from deploy import heads
from deploy.answers import OneWrite
from deploy.connections import Connection, Connections, Limits

# Connections reserved for probes, so that they are answered under any load.
RESERVE = 100
HEAD_SECONDS = 15
HELD_BYTES = 16 * 1024 * 1024
# Bytes of a refused body to read. A client that sends more loses the connection.
MOST_DISCARDED = 1024 * 1024


class Worker(GeventWorker):
    """Ends every request in time, answers probes always, and refuses malformed HTTP with a problem.

    `rooms` sets, for some paths, how many connections must stay free while a request is served.
    """

    request_seconds = 90
    send_seconds = 20
    metrics_port = 0
    rooms: Mapping[str, int] = {}

    @property
    def reserve(self) -> int:
        """The number of connections that ordinary requests must leave free."""
        return min(RESERVE, int(self.cfg.worker_connections) // 2)

    def run(self) -> None:
        """Serves until SIGTERM or a restart."""
        most = int(self.cfg.worker_connections)
        idle = self.cfg.keepalive or HEAD_SECONDS
        head = min(idle, HEAD_SECONDS)
        self._connections = Connections(Limits(most, HELD_BYTES, idle, head, self.send_seconds))
        # Gunicorn stops accepting at this number. `Connections` applies the real limit before.
        self.worker_connections = 2 * most
        # Gunicorn would search its settings at each use, 20 times a request.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        self._environments = heads.Environments(self.cfg)
        heads.install()
        super().run()

    def notify(self) -> None:
        """Runs once a second: signals life to gunicorn, and logs closed connections and refused requests."""
        super().notify()
        connections = self._connections
        if connections.closed or connections.refused:
            counts = (connections.closed, connections.refused)
            self.log.warning("Connections ran short: %s closed, %s requests refused", *counts)
            connections.closed = connections.refused = 0

    def timeout_ctx(self) -> Any:
        """Disables gunicorn's timeout, since `Connection` limits the wait for a request itself."""
        return contextlib.nullcontext()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serves one connection."""
        connection = Connection(client, self._connections)
        if not self._connections.admit(connection):
            connection.close()
            return
        try:
            super().handle(listener, connection, addr)
        finally:
            self._connections.leave(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Serves one request. A client that is too slow loses the connection."""
        if not self._connections.begin(sock, self._room(listener_name, req)):
            status, title = HTTPStatus.SERVICE_UNAVAILABLE, "The service is busy"
            detail = "The service has too many requests under way. Nothing was done; try again."
            _refuse(sock, status, "unavailable", title, detail, "Retry-After: 2\r\n")
            raise StopIteration
        limit = gevent.Timeout(self.request_seconds)
        try:
            with limit:
                self._answer(listener_name, req, sock, addr)
                self._discard_body(req, sock)
        except gevent.Timeout as expired:
            if expired is not limit:
                raise
            self.log.warning("A request was not over after %s s", self.request_seconds)
            sock.reset()
            raise StopIteration from None
        except gevent.GreenletExit:
            raise StopIteration from None
        finally:
            self._connections.end(sock)

    def _answer(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Runs the application as gunicorn's own method does, which would send the head on its own."""
        environ = self._environments.of(req, sock, addr, listener_name)
        if environ is None:
            response, environ = wsgi.create(req, sock, addr, listener_name, self.cfg, response_class=OneWrite)
            environ["wsgi.multithread"] = True
        else:
            response = OneWrite(req, sock, self.cfg)
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False
        if not self.alive or not self.cfg.keepalive:
            response.force_close()
        body = self.wsgi(environ, response.start_response)
        try:
            for part in body:
                response.write(part)
            response.close()
        except OSError:
            raise
        except Exception:
            if not response.began:
                raise
            # Another answer cannot follow the part that the client has.
            self.log.exception("Error handling request")
            sock.reset()
            raise StopIteration from None
        finally:
            if hasattr(body, "close"):
                body.close()
        if response.should_close():
            raise StopIteration

    def _discard_body(self, req: Any, sock: Any) -> None:
        """Reads the rest of a refused body, so that the next request can follow."""
        left = MOST_DISCARDED
        while data := req.body.read(8192):
            self._connections.let_go(sock, min(len(data), sock.held))
            left -= len(data)
            if left < 0:
                raise StopIteration

    def _room(self, listener_name: Any, req: Any) -> int:
        if self.metrics_port and listener_name[1] == self.metrics_port:
            return self.reserve // 2
        return self.rooms.get(req.path, self.reserve)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Answers with a problem (RFC 9457) that has gunicorn's status for the error."""
        page = _Page()
        super().handle_error(req, page, addr, exc)
        if not page.text:
            return
        status = HTTPStatus(int(page.text.split(b" ", 2)[1]))
        title = status.phrase.removeprefix("Request-")  # "Request-URI" is an older name
        code = "internal_error" if status == 500 else title.lower().replace(" ", "_")
        cfg = self.cfg
        details = {
            414: f"The request line may have at most {cfg.limit_request_line} bytes.",
            431: f"A request may have at most {cfg.limit_request_fields} headers, each of at most"
            f" {cfg.limit_request_field_size} bytes, and all together of at most 64 KiB.",
            500: "The service had an internal error. It has been logged.",
        }
        _refuse(client, status, code, title, details.get(status, "The request is not valid HTTP."))


def _refuse(client: Any, status: HTTPStatus, code: str, title: str, detail: str, fields: str = "") -> None:
    """Sends a problem without the application, with `Connection: close`."""
    request_id = secrets.token_hex(16)
    problem = {
        "type": f"urn:problem:order-service:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "requestId": request_id,
    }
    body = orjson.dumps(problem)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n{fields}"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\nCache-Control: no-store\r\n\r\n"
    )
    # A client that is gone or reads nothing gets no answer.
    with contextlib.suppress(OSError):
        util.write_nonblock(client, head.encode() + body)


class _Page:
    """Captures gunicorn's error page in place of the client's socket."""

    text = b""

    def gettimeout(self) -> float:
        return 0.0

    def sendall(self, text: bytes) -> None:
        self.text = text
