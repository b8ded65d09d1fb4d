"""Answers of the web process: head and body in one write, and the head made faster than gunicorn makes it."""

import re
import time
from functools import lru_cache
from typing import Any

from gunicorn import util
from gunicorn.http import message, wsgi

# Bytes of a body that are copied behind the head, to send both at once.
MOST_COPIED = 64 * 1024

_VALUES = re.compile(r"[\t\n -~\x80-\xff]*")


class OneWrite(wsgi.Response):
    """Sends the head of an answer together with the first part of its body."""

    headers_sent: bool
    began = False
    _head = b""

    def process_headers(self, headers: Any) -> None:
        """Checks and takes over the header fields. Gunicorn's own method handles all that are not plain."""
        try:
            text = "\n".join([value for _, value in headers])
            plain = all(_is_passed_on(name) for name, _ in headers) and _VALUES.fullmatch(text)
        except TypeError:
            plain, text = None, ""
        if not plain or text.count("\n") >= max(1, len(headers)):
            super().process_headers(headers)
            return
        for name, value in headers:
            if name.lower() == "content-length":
                self.response_length = int(value)
        self.headers.extend([(name, value.strip(" \t")) for name, value in headers])

    def send_headers(self) -> None:
        """Prepares the head."""
        if self.headers_sent:
            return
        connection = "upgrade" if self.upgrade else "close" if self.should_close() else "keep-alive"
        lines = [
            "HTTP/{}.{} {}".format(*self.req.version, self.status),
            f"Server: {self.version}",
            f"Date: {_date(int(time.time()))}",
            f"Connection: {connection}",
            *(["Transfer-Encoding: chunked"] if self.chunked else ()),
            *[f"{name}: {value}" for name, value in self.headers],
            "\r\n",
        ]
        self._head = "\r\n".join(lines).encode("latin-1")
        self.headers_sent = True

    def close(self) -> None:
        """Sends what is left."""
        self.send_headers()
        if self.chunked:
            self._send(b"0\r\n\r\n")
        elif self._head:
            self._send(b"")

    def _emit_body(self, data: bytes) -> None:
        self._send(b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def _send(self, data: bytes) -> None:
        head, self._head, self.began = self._head, b"", True
        if len(data) > MOST_COPIED:
            self.sock.sendall(head)
            head = b""
        self.sock.sendall(head + data if head else data)


@lru_cache(256)
def _is_passed_on(name: Any) -> bool:
    """Whether gunicorn passes a field with this name on, if its value is valid."""
    return isinstance(name, str) and bool(message.TOKEN_RE.fullmatch(name)) and not util.is_hoppish(name)


@lru_cache(1)
def _date(second: int) -> str:
    date: str = util.http_date(second)
    return date
