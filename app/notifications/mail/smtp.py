"""Sends many mails over one SMTP connection, and turns each reply into an outcome.

A 5xx reply to a mail is final. Any other failure is retried, since it is not about a single mail: a network
failure, the server's certificate, or the password.
"""

import contextlib
import re
import smtplib
from email.errors import MessageError
from email.message import EmailMessage
from time import monotonic

from app.mail_server import SmtpServer
from app.notifications.model import Delivery

# A session starts no further mail after this many seconds, so that its duration is bounded.
SESSION_SECONDS = 60


class SmtpSession:
    """One connection, opened at the first mail, and opened again if the server closes it.

    After two connections in a row without a reply to any mail, it opens no third one. The other mails are
    retried later.
    """

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._smtp: smtplib.SMTP | None = None
        self._opened_in_vain = 0
        self._ends = monotonic() + SESSION_SECONDS

    def send(self, letter: EmailMessage, sender: str, recipient: str) -> Delivery:
        """Sends a mail to one recipient. A failure of the server or the network is an outcome, not an
        exception."""
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
        """Closes the connection, if it is open."""
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
    # The server's text can contain the address. So the detail has only the code and the enhanced code (RFC
    # 3463).
    words = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    enhanced = re.match(r"[245]\.\d{1,3}\.\d{1,3}\b", words)
    detail = f"{code} {enhanced[0]}" if enhanced else str(code)
    return Delivery("failed" if 500 <= code <= 599 else "try_again", detail)


def _cause(fault: OSError) -> str:
    if isinstance(fault, smtplib.SMTPResponseException):
        return f"{type(fault).__name__} {fault.smtp_code}"
    return type(fault).__name__
