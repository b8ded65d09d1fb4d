"""JSON in, strictly: RFC 8259 in UTF-8, names unique, no NaN, and every fraction an exact Decimal."""

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, NoReturn

import orjson
from flask import Request
from gevent import Timeout
from werkzeug.exceptions import RequestEntityTooLarge

from app.errors import Fault
from app.http import pointers
from app.http.problems import Problem
from app.http.request_context import services

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32

_NESTING = (dict, list)
_CUT_SHORT = "The request body ended early, or its chunked encoding is invalid."


def read_json(request: Request) -> Any:
    """The JSON value in the body.

    Raises Problem for a body in another form, RequestEntityTooLarge for one of more than MAX_BYTES.
    """
    return parse(read_bytes(request))


def read_bytes(request: Request) -> bytes:
    """The body as it came, said to be JSON; raises as `read_json` does, but looks at no byte of it."""
    if request.content_type != "application/json":
        _require_json(request)
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "Send the body without a content coding.")
    return _raw(request)


def parse(raw: bytes) -> Any:
    """The value of a JSON text. Raises Problem where it is not one, and names every part that is not JSON,
    or where it goes deeper than MAX_DEPTH.
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
            # Only where it is not too deep to go through.
            flaws = () if _is_deep(raw, value) else tuple(_flaws(value))
    except json.JSONDecodeError as error:
        raise Problem("malformed_json", f"{error.msg}: line {error.lineno}, column {error.colno}.") from error
    except UnicodeDecodeError as error:
        raise Problem("malformed_json", f"Byte {error.start} is not UTF-8.") from error
    except RecursionError as error:
        raise _too_deep() from error
    if _is_deep(raw, value):
        raise _too_deep()
    if flaws:
        raise Problem("malformed_json", "The body holds what is not JSON.", *flaws)
    return value


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, the same however it was spelled: `200`, `200.00` or `2e2`."""
    return hashlib.sha256(orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _raw(request: Request) -> bytes:
    """The bytes of the body. (werkzeug's own limit cuts a body of unstated length and says nothing.)"""
    length, stream = request.content_length, request.environ["wsgi.input"]
    if length is None:
        # Only a server that marks the end of the stream lets us look for it.
        length = MAX_BYTES + 1 if request.environ.get("wsgi.input_terminated") else 0
    elif length > MAX_BYTES:
        raise RequestEntityTooLarge
    try:
        # A client that sends drop by drop is not to keep what it has sent in memory for ever.
        with Timeout(services().settings.body_timeout.total_seconds(), _TooSlow):
            raw: bytes = stream.read(length)
    except Problem:
        raise
    except Exception as error:
        # Each server has errors of its own for what it cannot read.
        raise Problem("bad_request", _CUT_SHORT) from error
    if request.content_length is not None and len(raw) < length:
        raise Problem("bad_request", _CUT_SHORT)
    if len(raw) > MAX_BYTES:
        raise RequestEntityTooLarge
    return raw


class _TooSlow(Problem):
    def __init__(self) -> None:
        super().__init__("request_timeout", "The body did not come in time.")


def _require_json(request: Request) -> None:
    has_body = request.content_length or "HTTP_TRANSFER_ENCODING" in request.environ
    if request.mimetype != "application/json" and (request.mimetype or has_body):
        raise Problem("unsupported_media_type", "Send the body as application/json.")
    if request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise Problem("unsupported_media_type", "Send the body in UTF-8.")


def _too_deep() -> Problem:
    return Problem("malformed_json", f"The body is nested more than {MAX_DEPTH} levels deep.")


def _is_deep(raw: bytes, value: Any) -> bool:
    # Hardly a body has brackets enough.
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
        members[name] = _Flaw("is there more than once") if name in members else value
    return members


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < 20 else Decimal(text)


# The one reads what is right, fast. Where it stumbles, the other goes over the text again: it marks what is
# not JSON, and takes the numbers too large for Python's int and Decimal, for the schema to refuse.
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
