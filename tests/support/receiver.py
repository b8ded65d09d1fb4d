"""A real HTTP server that accepts webhooks, refuses them, stalls and drips, as a test asks."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from standardwebhooks import Webhook

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

HOST = "127.0.0.1"


class Hook(NamedTuple):
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The `webhook-id`."""
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """The event, verified by the library; raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


class Reply(NamedTuple):
    """The answer: a status and headers, or `instead`, which gets the bare connection."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    instead: Callable[[Any], None] | None = None


class Receiver:
    """Answers with `replies`, the first of them first, and after those with `reply`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.hooks: list[Hook] = []
        self.replies: deque[Reply] = deque()
        self.reply = Reply()
        self.released = threading.Event()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._server = _Server((HOST, 0), self._handler())
        self._scheme = "http"
        if tls:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def url(self, host: str = HOST) -> str:
        """Its address."""
        return f"{self._scheme}://{host}:{self.port}/hooks?from=shop"

    def stall(self, connection: Any) -> None:
        """Answers nothing until released."""
        self.released.wait(30)

    def drip(self, connection: Any) -> None:
        """Answers 200, and then with one byte after the other until released."""
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not self.released.wait(0.05):
                connection.sendall(b".")

    def drip_headers(self, connection: Any) -> None:
        """Never comes to the end of its headers until released."""
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not self.released.wait(0.05):
                connection.sendall(b".")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            """One connection."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._lock:
                    receiver.hooks.append(Hook(self.path, headers, body))
                    receiver._now += 1
                    receiver.most_at_once = max(receiver.most_at_once, receiver._now)
                    reply = receiver.replies.popleft() if receiver.replies else receiver.reply
                try:
                    if reply.instead:
                        reply.instead(self.connection)
                        return
                finally:
                    with receiver._lock:
                        receiver._now -= 1
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A connection that its client gave up is none of a test's business."""
