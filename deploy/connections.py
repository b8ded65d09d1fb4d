"""The connections of one web worker, limited so that clients holding them open cannot exclude others.

When connections run short, the worker closes the one that has waited longest for its client.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gevent.socket import socket as GeventSocket  # noqa: N812 - a class, whatever its name
from gunicorn.http.errors import LimitRequestHeaders

# All header fields of one request, and the part of its body that was read together with them.
_MOST_HEAD_BYTES = 64 * 1024
# The kernel doubles it. A larger buffer would hold unread answers that no limit counts.
_SEND_BUFFER_BYTES = 64 * 1024
_SEND_AT_ONCE = 256 * 1024
# A client that became slow less than this ago may be about to continue.
_PATIENCE_SECONDS = 1.0
_RESET = struct.pack("ii", 1, 0)


class Limits(NamedTuple):
    """The limits of a worker: connections, bytes of bodies and unread answers, and seconds.

    `idle` is the time to the first byte of a request, `head` the time from there to the end of its header
    fields, `send` the time that a client may take without reading any of its answer.
    """

    connections: int
    held_bytes: int
    idle: float
    head: float
    send: float


class Connection(GeventSocket):
    """A client's socket. It knows since when it waits for the client, and how long it may wait."""

    def __init__(self, accepted: Any, connections: "Connections") -> None:
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, fileno=accepted.detach())
        self.waits_since = 0.0
        self.held = 0
        self._connections = connections
        self._head_ends: float | None = None
        self._head_bytes = 0
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        with contextlib.suppress(OSError):  # a Unix socket has no such option
            limit = int(connections.limits.send * 1000)
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)

    def recv(self, *args: Any) -> bytes:
        """The bytes that the client sends; empty, as at the end, if the head of a request is late."""
        connections = self._connections
        if connections.serves(self):
            with connections.waiting(self, connections.slow):
                received = super().recv(*args)
            connections.hold(self, len(received))
            return received
        limits = connections.limits
        left = limits.idle if self._head_ends is None else self._head_ends - time.monotonic()
        self.settimeout(max(left, 0.001))
        try:
            with connections.waiting(self, connections.idle):
                received = super().recv(*args)
        except TimeoutError:
            return b""
        finally:
            self.settimeout(None)
        if self._head_ends is None:
            self._head_ends = time.monotonic() + limits.head
        self._head_bytes += len(received)
        if self._head_bytes > _MOST_HEAD_BYTES:
            raise LimitRequestHeaders("limit request headers size")
        return received

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Sends everything. Raises OSError if the client reads nothing for too long."""
        left = memoryview(data)
        if self.gettimeout() is None:
            with contextlib.suppress(BlockingIOError):
                self.settimeout(0)
                left = left[self.send(left, flags) :]
            self.settimeout(self._connections.limits.send)
        if not left:
            self.settimeout(None)
            return
        connections = self._connections
        size = len(left)
        connections.hold(self, size)
        try:
            while left:
                # Restarts the wait for each part, so that a client that keeps reading is not the slowest.
                with connections.waiting(self, connections.slow):
                    left = left[self.send(left[:_SEND_AT_ONCE], flags) :]
        except TimeoutError as error:
            self.reset()
            raise ConnectionResetError("the answer was not read") from error
        finally:
            connections.let_go(self, size)
            if self.gettimeout():
                self.settimeout(None)

    def begin_request(self) -> None:
        """Call this when the head of a request is complete."""
        self._head_ends, self._head_bytes = None, 0

    def has_more(self) -> bool:
        """Whether the client has sent bytes that are not read yet."""
        timeout = self.gettimeout()
        self.settimeout(0)
        try:
            return bool(super().recv(1, socket.MSG_PEEK))
        except OSError:
            return False
        finally:
            self.settimeout(timeout)

    def reset(self) -> None:
        """Ends the connection at once. Nothing more is sent, and the kernel frees its buffers."""
        with contextlib.suppress(OSError):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.shutdown(socket.SHUT_RDWR)


class Connections:
    """All connections of a worker, and those that wait for their clients, the longest wait first."""

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        # Dicts, since they keep the order of insertion, which is the order of the waits.
        self.idle: dict[Connection, None] = {}
        self.slow: dict[Connection, None] = {}
        self.closed = self.refused = 0
        self._open: set[Connection] = set()
        self._serving: set[Connection] = set()
        self._held = 0
        self._now = now

    def admit(self, connection: Connection) -> bool:
        """Accepts a new connection; False if all others have a request under way."""
        if len(self._open) >= self.limits.connections and not (self._close_idle() or self._close_slow()):
            self.refused += 1
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Call this when the connection has ended."""
        self._open.discard(connection)

    def begin(self, connection: Connection, room: int) -> bool:
        """Accepts a request; False if that would leave fewer than `room` connections for others."""
        connection.begin_request()
        if len(self._serving) + room >= self.limits.connections and not self._close_slow():
            self.refused += 1
            return False
        self._serving.add(connection)
        return True

    def end(self, connection: Connection) -> None:
        """Call this when the request has been answered."""
        self._serving.discard(connection)
        self.let_go(connection, connection.held)

    def serves(self, connection: Connection) -> bool:
        """Whether a request of this connection is under way."""
        return connection in self._serving

    @contextlib.contextmanager
    def waiting(self, connection: Connection, among: dict[Connection, None]) -> Iterator[None]:
        """A context for a wait for the client."""
        connection.waits_since = self._now()
        among[connection] = None
        try:
            yield
        finally:
            among.pop(connection, None)

    def hold(self, connection: Connection, size: int) -> None:
        """Counts `size` bytes of a body or an answer. Over the limit, the slowest client is closed."""
        connection.held += size
        self._held += size
        while self._held > self.limits.held_bytes:
            slowest = next((each for each in self.slow if each.held and each is not connection), None)
            if slowest is None:
                break
            self._close(slowest)

    def let_go(self, connection: Connection, size: int) -> None:
        """Counts `size` bytes as sent or discarded."""
        size = min(size, connection.held)
        connection.held -= size
        self._held -= size

    def _close_idle(self) -> bool:
        idle = next((each for each in self.idle if not each.has_more()), None)
        return idle is not None and self._close(idle)

    def _close_slow(self) -> bool:
        slowest = next(iter(self.slow), None)
        if slowest is None or self._now() - slowest.waits_since < _PATIENCE_SECONDS:
            return False
        return self._close(slowest)

    def _close(self, connection: Connection) -> bool:
        self.closed += 1
        for waiting in (self.idle, self.slow):
            waiting.pop(connection, None)
        self._open.discard(connection)
        self._serving.discard(connection)
        self.let_go(connection, connection.held)
        connection.reset()
        return True
