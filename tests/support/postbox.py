"""A real SMTP server that accepts, refuses, drops and stalls, as a test asks."""

import asyncio
import socket
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from aiosmtpd.controller import Controller

if TYPE_CHECKING:
    from email.message import EmailMessage

HOST = "127.0.0.1"


class Postbox:
    """Takes all mail but that to the recipients named in the tables and sets; the hooks are aiosmtpd's."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, EmailMessage]] = []
        self.peers: set[Any] = set()
        self.replies: dict[str, str] = {}
        self.replies_to_data: dict[str, str] = {}
        self.dropped: set[str] = set()
        self.stalled: set[str] = set()
        self.encrypted: list[bool] = []

    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.peers.add(session.peer)
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address in self.dropped:
            server.transport.abort()
        if address in self.stalled:
            await asyncio.Event().wait()
        if address not in self.replies:
            envelope.rcpt_tos.append(address)
        return self.replies.get(address, "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        [recipient] = envelope.rcpt_tos
        if recipient in self.replies_to_data:
            return self.replies_to_data[recipient]
        self.encrypted.append(session.ssl is not None)
        letter = message_from_bytes(envelope.original_content, policy=policy.default)
        self.taken.append((recipient, letter))
        return "250 OK"

    @property
    def connections(self) -> int:
        return len(self.peers)

    @property
    def recipients(self) -> list[str]:
        return [recipient for recipient, _ in self.taken]


class Server(Controller):
    """aiosmtpd on a port that the system chose and that nobody else can take in between."""

    def __init__(self, postbox: Postbox, **options: Any) -> None:
        self._socket = socket.create_server((HOST, 0))
        super().__init__(postbox, HOST, self._socket.getsockname()[1], **options)

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._socket, ssl=self.ssl_context)
