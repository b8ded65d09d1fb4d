"""The mail server as a client sees it: one connection for many mails, and what each reply means for a mail.

A reply of 5xx to a mail is final; whatever else goes wrong, on the network or with the server as a whole (its
certificate, our password), is worth another try, since no single mail is to blame.
"""

import contextlib
import re
import smtplib
import ssl
from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import EmailMessage
from time import monotonic
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from app.notifications.model import Delivery

CONNECT_SECONDS = 10
REPLY_SECONDS = 15
# No batch begins another mail after this, so that the caller knows when it has its answer.
SESSION_SECONDS = 60

PLAIN = "smtp+plain"
SCHEMES = ("smtp", "smtps", PLAIN)

_URL_SHAPE = "is not smtp[s]://[user:password@]host[:port][?starttls=1], or smtp+plain://… for no encryption"


@dataclass(frozen=True)
class SmtpServer:
    """Where and how to connect.

    `encryption` is `tls` from the first byte, `starttls` before anything else is said, `offered` for STARTTLS
    where the server offers it, or `plain`. The first two verify the certificate. `offered` does not: it keeps
    out those who only listen, and nobody is any worse off than without it.
    """

    host: str
    port: int
    encryption: Literal["tls", "starttls", "offered", "plain"]
    username: str
    password: str = field(repr=False)

    @classmethod
    def at(cls, url: str) -> "SmtpServer":
        """The server of an SMTP_URL; raises ValueError, which quotes nothing of it, where it is malformed.

        A user or a password goes out under TLS alone, unless the scheme says `smtp+plain`.
        """
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
            starttls = {"0": False, "1": True}[options.pop("starttls", "0")]
            port = parts.port or (465 if parts.scheme == "smtps" else 587 if starttls else 25)
            host = (parts.hostname or "").encode("idna").decode()
        except (KeyError, ValueError):
            # Not the cause: it may quote a part of the password.
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
        """A greeted connection, encrypted and authenticated as far as asked for; raises OSError."""
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


class SmtpSession:
    """One connection, opened when first needed, and again when the server has closed it.

    Two in a row without an answer to any mail mean that a third would do no better: the rest waits for the
    next try.
    """

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._smtp: smtplib.SMTP | None = None
        self._opened_in_vain = 0
        self._ends = monotonic() + SESSION_SECONDS

    def send(self, letter: EmailMessage, sender: str, recipient: str) -> Delivery:
        """Sends to the one recipient; raises for nothing that a server or a network can do."""
        try:
            smtp = self._connection()
        except OSError as fault:
            self._opened_in_vain = 2
            return Delivery("try_again", _cause(fault))
        outcome = _sent(smtp, letter, sender, recipient)
        if smtp.sock is not None:
            self._opened_in_vain = 0
        return outcome

    def close(self) -> None:
        """Says goodbye, if there is anybody to say it to."""
        if self._smtp is not None:
            with contextlib.suppress(OSError):
                self._smtp.quit()

    def _connection(self) -> smtplib.SMTP:
        if monotonic() > self._ends:
            raise TimeoutError
        # smtplib drops the socket on a time-out, a lost connection and a 421.
        if self._smtp is None or self._smtp.sock is None:
            if self._opened_in_vain == 2:
                raise ConnectionAbortedError
            self._opened_in_vain += 1
            self._smtp = self._server.connect()
        return self._smtp


def _sent(smtp: smtplib.SMTP, letter: EmailMessage, sender: str, recipient: str) -> Delivery:
    try:
        smtp.send_message(letter, sender, [recipient])
    except smtplib.SMTPNotSupportedError:
        return Delivery("failed", "the mail server takes no international addresses")
    except smtplib.SMTPRecipientsRefused as refusal:
        return _refused(*refusal.recipients[recipient])
    except smtplib.SMTPResponseException as refusal:
        return _refused(refusal.smtp_code, refusal.smtp_error)
    except OSError as fault:
        smtp.close()
        return Delivery("try_again", _cause(fault))
    except (MessageError, ValueError) as fault:
        return Delivery("failed", f"not a valid message: {type(fault).__name__}")
    return Delivery("sent")


def _refused(code: int, text: bytes | str) -> Delivery:
    # The server's words may quote the address: the code, and the enhanced one (RFC 3463), must do.
    words = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    enhanced = re.match(r"[245]\.\d{1,3}\.\d{1,3}\b", words)
    detail = f"{code} {enhanced[0]}" if enhanced else str(code)
    return Delivery("failed" if 500 <= code <= 599 else "try_again", detail)


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _cause(fault: OSError) -> str:
    if isinstance(fault, smtplib.SMTPResponseException):
        return f"{type(fault).__name__} {fault.smtp_code}"
    return type(fault).__name__
