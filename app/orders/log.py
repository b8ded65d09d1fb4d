"""The log of an order: a chain of hashed events, so that an edit of a past event shows.

Each hash is SHA-256 over the canonical JSON of the previous hash and the event.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypedDict

from app.clock import to_text

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=to_text)


class Event(TypedDict):
    """One entry of the log. `sequence` counts from 1 without gaps. `hash` covers the previous hash, too."""

    sequence: int
    type: str
    at: datetime
    actor: str
    data: dict[str, Any]
    hash: str


def digest(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON: sorted keys, no white space, times as RFC 3339."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def event_hash(previous: str, event: Event) -> str:
    """The hash over the previous hash and the event without its own hash.

    For the first event, `previous` is the order's id.
    """
    return digest([previous, event["sequence"], event["type"], event["at"], event["actor"], event["data"]])


def first_bad_sequence(order_id: str, events: Iterable[Event], version: int = 0) -> int | None:
    """The first sequence at which the log has a gap or a wrong hash, or ends before `version`.

    None if the log is intact.
    """
    previous, expected = order_id, 1
    for event in events:
        if event["sequence"] != expected or event["hash"] != event_hash(previous, event):
            return expected
        previous, expected = event["hash"], expected + 1
    return expected if expected <= version else None
