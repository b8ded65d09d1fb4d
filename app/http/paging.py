"""Pages of listings: cursors that belong to one listing and its filters, and links to the next page.

A cursor is the id of the last item and a checksum over the id, the path and the filters. So a cursor is
refused if it was altered or comes with other filters. The checksum has no secret: a forged cursor only makes
a page start elsewhere.
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
# The milliseconds of its last change follow the id. They end before the year 6000.
LIKE_A_CHANGED_ORDER = r"[0-9a-f]{24}@[0-9]{1,14}"
LIKE_A_PRODUCT = r"[^\x00]{1,128}"
# The ids in feed cursors of the previous release.
LIKE_A_POSITION = r"[0-9]{1,18}"
# The maximum bytes of a page, whatever the limit. A page has at least one item.
LARGEST_PAGE = 1024 * 1024

_SUM_LENGTH = 9
_NO_FILTERS = ("after", "cursor", "limit")


def after(cursor: str | None, form: str) -> str | None:
    """The id after which the page starts; `form` is a regular expression for valid ids.

    Raises Problem if the cursor does not belong to this listing.
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
    """The first items (each with its text) that fit into a page, and whether there are more."""
    page: list[tuple[Key, bytes]] = []
    size = 0
    for item in items:
        size += len(item[1])
        if page and (len(page) == limit or size > LARGEST_PAGE):
            return page, True
        page.append(item)
    return page, False


def listing(name: str, items: Sequence[object], last: str | None, **beside: object) -> Response:
    """The response with a page under `name`, and the fields `beside` it. `last` is the last id of the page;
    None on the last page."""
    if last is None:
        return answer({**beside, name: items})
    cursor = cursor_behind(last)
    same = [pair for pair in request.args.items(multi=True) if pair[0] != "cursor"]
    query = urlencode([*same, ("cursor", cursor)])
    link = f'<{quote(request.script_root + request.path)}?{query}>; rel="next"'
    return answer({**beside, name: items, "nextCursor": cursor}, headers={"Link": link})


def cursor_behind(last: str) -> str:
    """The cursor for the page after this id, in this listing with these filters."""
    checksum = hashlib.blake2s(covered(last), digest_size=_SUM_LENGTH).digest()
    return base64.urlsafe_b64encode(checksum + last.encode()).decode().rstrip("=")


def covered(last: str = "") -> bytes:
    """The input of a cursor's checksum: the path, the id and the filters."""
    filters = sorted(pair for pair in request.args.items(multi=True) if pair[0] not in _NO_FILTERS)
    return urlencode([("", request.path), ("", last), *filters]).encode()


def bad_cursor() -> Problem:
    """The problem for an invalid cursor."""
    return Problem(
        "bad_cursor", "The cursor must come from this listing with the same filters. Start again without one."
    )
