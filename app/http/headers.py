"""The request headers that orders use: conditions (RFC 9110), preferences (RFC 7240), idempotency keys."""

import re

from flask import request

from app.http.answers import entity_tag
from app.http.problems import Problem

MOST_SECONDS = 30

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\s*{_TAG}(?:\s*,\s*{_TAG})*\s*")
_OUR_STRONG_TAG = re.compile(r'(?<!W/)"v([1-9]\d{0,17})"', re.ASCII)
_WAIT = re.compile(r'wait\s*=\s*(?:(\d{1,9})|"(\d{1,9})")\s*(?:;.*)?', re.IGNORECASE | re.ASCII)


def idempotency_key(*, required: bool) -> str | None:
    """The `Idempotency-Key`. Raises Problem if it is malformed, or required and missing."""
    key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        if required:
            raise Problem("idempotency_key_required", "The Idempotency-Key header is required.")
        return None
    if not _KEY.fullmatch(key):
        raise Problem("bad_header", "Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return key


def if_match(*, required: bool) -> frozenset[int] | None:
    """The versions that `If-Match` accepts; None if it accepts any version.

    A weak tag, or a tag in another form than ours, matches no version. No POST requires the header, since it
    replaces nothing. Raises Problem if the header is malformed, or required and missing.
    """
    header = request.environ.get("HTTP_IF_MATCH")
    if header is None:
        if required and request.method != "POST":
            raise Problem("if_match_required", "The If-Match header is required. Send the ETag of the order.")
        return None
    if header.strip() == "*":
        return None
    if not _TAGS.fullmatch(header):
        raise Problem("bad_header", 'If-Match must be * or a list of entity tags such as "v3".')
    return frozenset(int(version) for version in _OUR_STRONG_TAG.findall(header))


def is_known(version: int) -> bool:
    """Whether `If-None-Match` names this version, so the client has it already."""
    if "HTTP_IF_NONE_MATCH" not in request.environ:
        return False
    return request.if_none_match.contains_weak(entity_tag(version).strip('"'))


def wait() -> float | None:
    """The seconds of `Prefer: wait`, at most 30; None if the header has no `wait`."""
    for preference in request.environ.get("HTTP_PREFER", "").split(","):
        if match := _WAIT.fullmatch(preference.strip()):
            return min(int(match[1] or match[2]), MOST_SECONDS)
    return None
