"""A road from a process to a mongod that carries everything but the commit of one transaction."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

from deploy.local.servers import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.servers import MongoServer

COMMIT = b"commitTransaction"
CHUNK = 65_536


class CommitTrap:
    """Listens for one client of the server. The commit for which `catch` returns True never arrives.

    `catch` is called while the commit is on its way, so what it does to the client happens after the last
    write of the transaction and before the end of it.
    """

    def __init__(self, server: MongoServer, catch: Callable[[], bool]) -> None:
        self._server = server
        self._catch = catch
        self._listening = socket.create_server((HOST, 0))
        self._open: list[socket.socket] = []

    def uri(self, database: str) -> str:
        """The MONGO_URI for the client."""
        port = self._listening.getsockname()[1]
        return f"mongodb://{HOST}:{port}/{database}?directConnection=true"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection((HOST, self._server.port))
                self._open += [client, server]
                for work, ends in ((self._there, (client, server)), (_carry, (server, client))):
                    threading.Thread(target=work, args=ends, daemon=True).start()

    def _there(self, client: socket.socket, server: socket.socket) -> None:
        _carry(client, server, lambda message: COMMIT in message and self._catch())

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        for each in self._open:
            each.close()


def _carry(
    source: socket.socket, target: socket.socket, stop: Callable[[bytes], bool] = lambda _: False
) -> None:
    """Carries until an end is closed. The command of a commit is short, so it comes in one piece."""
    with contextlib.suppress(OSError):
        while (message := source.recv(CHUNK)) and not stop(message):
            target.sendall(message)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
