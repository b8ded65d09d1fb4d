"""Pages: a cursor that holds to one listing and one set of filters, and the link to the next page.

A cursor is the id of the last thing shown and a checksum over it, the path and the filters; so it is refused
when it was altered, or comes with other filters. The checksum has no secret: who computes one of his own gets
no more than a page that begins elsewhere.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

from flask import Response, request

from app.http.answers import answer
from app.http.problems import Problem

LIKE_AN_ORDER = r"[0-9a-f]{24}"
LIKE_A_PRODUCT = r"[^\x00]{1,128}"
# Of cursors of the feed that the release before gave.
LIKE_A_POSITION = r"[0-9]{1,18}"
# Bytes of one answer, however many items it is asked for; one item is always in it.
LARGEST_PAGE = 1024 * 1024

_SUM_LENGTH = 9
_NO_FILTERS = ("after", "cursor", "limit")


def after(cursor: str | None, form: str) -> str | None:
    """The id that the page begins behind; ids have this form (a regular expression).

    Raises Problem for a cursor that is not one of this listing.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        last = raw[_SUM_LENGTH:].decode()
    except (binascii.Error, ValueError) as error:
        raise bad_cursor() from error
    if cursor_behind(last) != cursor or not re.fullmatch(form, last):
        raise bad_cursor()
    return last


Key = TypeVar("Key")


def fitting(items: Iterable[tuple[Key, bytes]], limit: int) -> tuple[list[tuple[Key, bytes]], bool]:
    """The first items (each with its text), up to the limit and the largest page; whether there are more."""
    page: list[tuple[Key, bytes]] = []
    size = 0
    for item in items:
        size += len(item[1])
        if page and (len(page) == limit or size > LARGEST_PAGE):
            return page, True
        page.append(item)
    return page, False


def listing(name: str, items: Sequence[object], last: str | None, **beside: object) -> Response:
    """The answer that shows a page under a name, and what goes beside it; `last` is its last id while there
    is more behind it."""
    if last is None:
        return answer({**beside, name: items})
    cursor = cursor_behind(last)
    same = [pair for pair in request.args.items(multi=True) if pair[0] != "cursor"]
    query = urlencode([*same, ("cursor", cursor)])
    link = f'<{quote(request.script_root + request.path)}?{query}>; rel="next"'
    return answer({**beside, name: items, "nextCursor": cursor}, headers={"Link": link})


def cursor_behind(last: str) -> str:
    """The cursor of what comes after the thing with this id, in this listing with these filters."""
    checksum = hashlib.blake2s(covered(last), digest_size=_SUM_LENGTH).digest()
    return base64.urlsafe_b64encode(checksum + last.encode()).decode().rstrip("=")


def covered(last: str = "") -> bytes:
    """What a cursor holds to: the path and the filters of the request, beside the id."""
    filters = sorted(pair for pair in request.args.items(multi=True) if pair[0] not in _NO_FILTERS)
    return urlencode([("", request.path), ("", last), *filters]).encode()


def bad_cursor() -> Problem:
    """The refusal of a cursor."""
    return Problem(
        "bad_cursor", "The cursor must come from this listing with the same filters. Start again without one."
    )
