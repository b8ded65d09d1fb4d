"""The mail server: its address, and how to connect to it."""

import smtplib
import ssl
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

CONNECT_SECONDS = 10
REPLY_SECONDS = 15

PLAIN = "smtp+plain"
SCHEMES = ("smtp", "smtps", PLAIN)

_URL_SHAPE = "is not smtp[s]://[user:password@]host[:port][?starttls=1], or smtp+plain://… for no encryption"


@dataclass(frozen=True)
class SmtpServer:
    """The address of a mail server, and the encryption of the connection.

    `encryption` is `tls` (from the first byte), `starttls` (required), `offered` (STARTTLS if the server
    offers it), or `plain`. The first two verify the certificate. `offered` does not, but it still stops
    passive eavesdropping.
    """

    host: str
    port: int
    encryption: Literal["tls", "starttls", "offered", "plain"]
    username: str
    password: str = field(repr=False)

    @classmethod
    def at(cls, url: str) -> "SmtpServer":
        """The server of an SMTP_URL. Raises ValueError if the URL is malformed; its text contains no part of
        the URL.

        A user or a password is only sent over TLS, unless the scheme is `smtp+plain`.
        """
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
            starttls = {"0": False, "1": True}[options.pop("starttls", "0")]
            port = parts.port or (465 if parts.scheme == "smtps" else 587 if starttls else 25)
            host = (parts.hostname or "").encode("idna").decode()
        except (KeyError, ValueError):
            # The cause is left out, because it can contain a part of the password.
            raise ValueError(_URL_SHAPE) from None
        if parts.scheme not in SCHEMES or not host or options or parts.path.strip("/"):
            raise ValueError(_URL_SHAPE)
        if parts.scheme != "smtp" and starttls:
            raise ValueError(
                "takes starttls with smtp:// alone: smtps is encrypted anyway, and smtp+plain never"
            )
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not (username + password).isascii():
            raise ValueError("has a user or password that is not ASCII, which smtplib cannot send")
        if parts.scheme == "smtps":
            return cls(host, port, "tls", username, password)
        if parts.scheme == PLAIN:
            return cls(host, port, "plain", username, password)
        return cls(
            host, port, "starttls" if starttls or username or password else "offered", username, password
        )

    def connect(self) -> smtplib.SMTP:
        """An open connection, encrypted and authenticated as configured. Raises OSError."""
        if self.encryption == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=CONNECT_SECONDS, context=ssl.create_default_context()
            )
        else:
            smtp = smtplib.SMTP(self.host, self.port, timeout=CONNECT_SECONDS)
        try:
            smtp.ehlo_or_helo_if_needed()
            if self.encryption == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            elif self.encryption == "offered" and smtp.has_extn("starttls"):
                smtp.starttls(context=_unverified())
            smtp.ehlo_or_helo_if_needed()
            if self.username:
                smtp.login(self.username, self.password)
            if smtp.sock:
                smtp.sock.settimeout(REPLY_SECONDS)
        except BaseException:
            smtp.close()
            raise
        return smtp


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
