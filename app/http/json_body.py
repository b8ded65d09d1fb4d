"""Reads JSON bodies strictly: RFC 8259 in UTF-8, unique names, no NaN, fractions as exact Decimals."""

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, NoReturn

import orjson
from flask import Request
from gevent import Timeout

from app.errors import Fault
from app.http import pointers
from app.http.problems import Problem
from app.http.request_context import services

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32

JSON = "application/json"

_NESTING = (dict, list)
# The faults of a JSON text, by how Python's parser begins to name them.
_SYNTAX = {
    "Expecting value": "A value is missing here.",
    "Expecting property name": "A name in double quotes is missing here.",
    "Expecting ':'": "A colon is missing here.",
    "Expecting ','": "A comma or a closing bracket is missing here.",
    "Illegal trailing comma": "No comma may follow the last entry.",
    "Extra data": "Nothing may follow the first value.",
    "Unterminated string": "The text that begins here has no closing quotation mark.",
    "Invalid control character": "A control character in a text must be escaped.",
    "Invalid \\": "JSON has no such escape.",
}
_CUT_SHORT = "The request body ended early, or its chunked encoding is invalid."


def read_json(request: Request, media_type: str = JSON) -> Any:
    """The JSON value of the body.

    Raises Problem if the body is not valid JSON, of another media type, or larger than MAX_BYTES.
    """
    return parse(read_bytes(request, media_type))


def read_bytes(request: Request, media_type: str = JSON) -> bytes:
    """The bytes of the body, not parsed. Raises as `read_json` does for wrong headers, size and time."""
    if request.content_type != media_type:
        _require(media_type, request)
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "The Content-Encoding must be identity, or absent.")
    return _raw(request)


def parse(raw: bytes) -> Any:
    """The value of a JSON text.

    Raises Problem if the text is not JSON, with every value that is not, or if it is deeper than MAX_DEPTH.
    """
    if not raw.strip():
        raise Problem("malformed_json", "The body is empty.")
    flaws: tuple[Fault, ...] = ()
    try:
        text = raw.decode()
        try:
            value = _READ.decode(text)
        except json.JSONDecodeError:
            raise
        except (ValueError, InvalidOperation):
            value = _MARK.decode(text)
            # A value that is too deep is not searched.
            flaws = () if _is_deep(raw, value) else tuple(_flaws(value))
    except json.JSONDecodeError as error:
        raise Problem("malformed_json", _where(text, error)) from error
    except UnicodeDecodeError as error:
        raise Problem("malformed_json", f"The body must be UTF-8, but byte {error.start} is not.") from error
    except RecursionError as error:
        raise _too_deep() from error
    if _is_deep(raw, value):
        raise _too_deep()
    if flaws:
        raise Problem("malformed_json", "The body has values that are not valid JSON. See errors.", *flaws)
    return value


def _where(text: str, error: json.JSONDecodeError) -> str:
    place = f"The body is not valid JSON at line {error.lineno}, column {error.colno}."
    if error.pos >= len(text.rstrip()):
        return f"{place} It ends too early."
    reason = next((ours for theirs, ours in _SYNTAX.items() if error.msg.startswith(theirs)), None)
    return f"{place} {reason}" if reason else place


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value. `200`, `200.00` and `2e2` have the same digest."""
    return hashlib.sha256(orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _raw(request: Request) -> bytes:
    """The bytes of the body. werkzeug's own limit would truncate a body of unknown length silently."""
    length, stream = request.content_length, request.environ["wsgi.input"]
    if length is None:
        # Without a length, reading to the end is safe only if the server marks the end of the stream.
        length = MAX_BYTES + 1 if request.environ.get("wsgi.input_terminated") else 0
    elif length > MAX_BYTES:
        raise _too_large()
    try:
        # A client that sends very slowly must not hold memory for ever.
        seconds = services().settings.body_timeout.total_seconds()
        with Timeout(seconds, _too_slow(seconds)):
            raw: bytes = stream.read(length)
    except Problem:
        raise
    except Exception as error:
        # Every server raises its own errors for a body that it cannot read.
        raise Problem("bad_request", _CUT_SHORT) from error
    if request.content_length is not None and len(raw) < length:
        raise Problem("bad_request", _CUT_SHORT)
    if len(raw) > MAX_BYTES:
        raise _too_large()
    return raw


def _too_slow(seconds: float) -> Problem:
    return Problem("request_timeout", f"The body must arrive within {seconds:g} seconds.")


def _require(media_type: str, request: Request) -> None:
    has_body = request.content_length or "HTTP_TRANSFER_ENCODING" in request.environ
    if request.mimetype != media_type and (request.mimetype or has_body):
        # RFC 5789 names the header for a PATCH.
        accepted = {"Accept-Patch": media_type} if request.method == "PATCH" else {}
        raise Problem("unsupported_media_type", f"The Content-Type must be {media_type}.", headers=accepted)
    if request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise Problem("unsupported_media_type", "The charset of the Content-Type must be utf-8, or absent.")


def _too_large() -> Problem:
    return Problem("content_too_large", f"The body must have at most {MAX_BYTES} bytes.")


def _too_deep() -> Problem:
    return Problem("malformed_json", f"The body must have at most {MAX_DEPTH} levels of nesting.")


def _is_deep(raw: bytes, value: Any) -> bool:
    # Few bodies have enough brackets for that.
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _NESTING
        ]
    return bool(level)


class _Flaw(NamedTuple):
    detail: str


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("repeated name")
    return members


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        members[name] = _Flaw("must be given only once") if name in members else value
    return members


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < 20 else Decimal(text)


# `_READ` is fast and fails at the first error. Then `_MARK` reads the text again: it marks every value that
# is not JSON, and accepts numbers too large for Python's int and Decimal, which the schema refuses later.
_READ = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_unique)
_MARK = json.JSONDecoder(
    parse_float=_fraction,
    parse_int=_integer,
    parse_constant=lambda name: _Flaw(f"{name} is not a JSON number"),
    object_pairs_hook=_marked,
)


def _flaws(value: Any, pointer: str = "") -> Iterator[Fault]:
    match value:
        case _Flaw(detail):
            yield Fault(pointer, detail)
        case dict():
            for name, member in value.items():
                yield from _flaws(member, pointers.extend(pointer, name))
        case list():
            for index, item in enumerate(value):
                yield from _flaws(item, pointers.extend(pointer, index))


def _plain(number: Decimal) -> int | str:
    return int(number) if number == int(number) else str(number.normalize())
