"""Reads the forwarding headers of trusted proxies: the client's address, scheme and path prefix."""

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"

_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,64}){0,8}/?", re.ASCII)
# Some proxies append the client's port.
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}", re.ASCII)


def believing(app: "WSGIApplication", proxies: int) -> "WSGIApplication":
    """The application behind `proxies` trusted proxies. A malformed value counts as missing.

    The forwarded host is ignored, so that no header can select the port of the metrics.
    """
    fixed = ProxyFix(app, x_for=1, x_proto=1, x_host=0, x_prefix=1)
    rules: tuple[tuple[str, int, Callable[[str], str]], ...] = (
        (FORWARDED_FOR, proxies, _address),
        ("HTTP_X_FORWARDED_PROTO", 1, _scheme),
        ("HTTP_X_FORWARDED_PREFIX", 1, _path),
    )

    def checked(environ: "WSGIEnvironment", start_response: "StartResponse") -> object:
        for header, place, proper in rules:
            if header in environ:
                values = environ[header].split(",")
                environ[header] = proper(values[-place].strip()) if len(values) >= place else ""
        return fixed(environ, start_response)

    return checked  # type: ignore[return-value]


def _address(value: str) -> str:
    if match := _WITH_PORT.fullmatch(value):
        value = match[1] or match[2]
    try:
        return str(ip_address(value))
    except ValueError:
        return ""


def _scheme(value: str) -> str:
    return value.lower() if value.lower() in ("http", "https") else ""


def _path(value: str) -> str:
    return value.rstrip("/") if _PREFIX.fullmatch(value) else ""
