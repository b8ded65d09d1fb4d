"""A mail server that delivers to a folder, so that you can read mail without any account."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import default
from itertools import count
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller

from deploy.local.servers import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailbox:
    """An SMTP server on loopback that writes each mail as an .eml file, named in order of arrival."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self._numbers = count(1 + sum(1 for _ in directory.glob("*.eml")))
        self._controller = Controller(self, hostname=HOST, port=free_port())

    @property
    def url(self) -> str:
        """The SMTP_URL that delivers here."""
        return f"smtp://{HOST}:{self._controller.port}"

    def start(self) -> Self:
        """Starts to accept mail."""
        self._controller.start()
        return self

    def stop(self) -> None:
        """Stops accepting mail. Received mails stay in the folder."""
        self._controller.stop(no_assert=True)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Stores one mail. aiosmtpd fixes the name and the arguments of this method."""
        content = envelope.original_content or b""
        subject = re.sub(r"\W+", "-", str(message_from_bytes(content, policy=default)["subject"] or "mail"))
        name = f"{next(self._numbers):05}-{subject.strip('-').lower()[:80]}.eml"
        unfinished = self.directory / f".{name}"
        unfinished.write_bytes(content)
        unfinished.rename(self.directory / name)
        return "250 Message accepted for delivery"
