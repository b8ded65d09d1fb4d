"""The parsers of the settings' texts. Each raises ValueError with the reason if it cannot read a text."""

import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from app.money import DECIMALS

DURATION_PATTERN = r"^([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|)$"
_DURATION = re.compile(DURATION_PATTERN)
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
_BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)


def duration(text: str) -> timedelta:
    """A time above zero: `15m`, `2h`, `0.5s`, or plain seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0
    if seconds <= 0:
        raise ValueError("must be a time such as 15m, 2h, 30s or 0.5s")
    return timedelta(seconds=seconds)


def span(text: str) -> timedelta:
    """A time of zero or more that has a unit, such as `16m` or `0s`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None or not match[2]:
        raise ValueError("must be a time with a unit, such as 15m, 2h, 3d, 30s or 500ms")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError as error:
        raise ValueError("must be shorter") from error


def period(text: str) -> timedelta:
    """A time above zero that has a unit. Raises ValueError."""
    if not (found := span(text)):
        raise ValueError("must be more than zero")
    return found


def prefix(text: str) -> str:
    path = f"/{text.strip('/')}" if text.strip("/") else ""
    if not _PREFIX.fullmatch(path):
        raise ValueError("must be a path such as /api")
    return path


def auth(text: str) -> str:
    if text.lower() not in ("jwt", "off"):
        raise ValueError("must be jwt, or off: serving everyone must be asked for by name")
    return text.lower()


def secret(text: str) -> str:
    if len(text.encode()) < 32:
        raise ValueError("must have 32 bytes or more")
    return text


def public_key(path: str) -> str:
    # Imported here, because most processes do not need the cryptography library.
    from app.keys import of_pem  # noqa: PLC0415

    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"names a file that cannot be read: {error.strerror}") from error
    of_pem(pem)
    return pem.decode()


def currency(text: str) -> str:
    if text.upper() not in DECIMALS:
        raise ValueError("must be an ISO 4217 code such as USD")
    return text.upper()


def boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[text.lower()]


def one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"must be {' or '.join(choices)}")
        return text.lower()

    return read


def url(*schemes: str) -> Callable[[str], str]:
    begins = tuple(f"{scheme}://" for scheme in schemes)

    def read(text: str) -> str:
        # The message does not contain the URL, which can have a password.
        if not text.startswith(begins):
            raise ValueError(f"must be a URL that begins with {' or '.join(begins)}")
        return text

    return read


def secure_url(text: str) -> str:
    """Reads an HTTPS URL, or an HTTP URL of this machine. Raises ValueError."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError("must be a URL that begins with https://") from error
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("must be a URL that begins with https://")
    if "@" in parts.netloc:
        raise ValueError("must be a URL without user and password")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("must begin with https://; http:// is for 127.0.0.0/8, [::1] and localhost alone")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def smtp_url(text: str) -> str:
    # Imported here, so that only a service that sends mails loads it.
    from app.mail_server import SmtpServer  # noqa: PLC0415

    SmtpServer.at(text)
    return text


def rate(text: str) -> str:
    # Imported here, so that only a service with limits loads it.
    from limits import parse  # noqa: PLC0415

    try:
        limit = parse(text)
    except ValueError as error:
        raise ValueError("must be a rate such as 100/minute") from error
    if limit.amount < 1:
        raise ValueError("must allow one request or more")
    return text


def whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return read
