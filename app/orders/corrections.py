"""Corrections of an order: merge patches (RFC 7396), notes and tags, and the fold of their events."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict

from app.orders.fields import AMENDABLE, PERSONAL
from app.orders.log import Event

# The amendable fields that are part of the log.
_LOGGED = tuple(name for name in AMENDABLE if name not in PERSONAL)


class Note(TypedDict):
    """A note without its text. `erased` is present once it is erased."""

    id: str
    visibility: str
    actor: str
    createdAt: datetime
    erased: NotRequired[bool]


def merged(target: Any, patch: Any) -> Any:
    """The target after a merge patch. Does not modify the target."""
    if not isinstance(patch, Mapping):
        return patch
    result = {**target} if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _amended(order: dict[str, Any], event: Event) -> None:
    """The personal data are not in the log, so only the other fields change."""
    for name in _LOGGED:
        if name in event["data"]["fields"]:
            order.pop(name, None)
            if name in event["data"]:
                order[name] = event["data"][name]


def _tagged(order: dict[str, Any], event: Event) -> None:
    tags = {*order.pop("tags", ()), *event["data"]["added"]}.difference(event["data"]["removed"])
    if tags:
        order["tags"] = sorted(tags)


def _note_added(order: dict[str, Any], event: Event) -> None:
    data = event["data"]
    note = Note(id=data["noteId"], visibility=data["visibility"], actor=event["actor"], createdAt=event["at"])
    order["notes"] = [*order.get("notes", ()), note]


def _note_erased(order: dict[str, Any], event: Event) -> None:
    erased = event["data"]["noteId"]
    order["notes"] = [
        {**note, "erased": True} if note["id"] == erased else note for note in order.get("notes", ())
    ]


# What each of these events changes in an order, beyond its version and time.
FOLDS: dict[str, Callable[[dict[str, Any], Event], None]] = {
    "order.amended": _amended,
    "order.tagged": _tagged,
    "note.added": _note_added,
    "note.erased": _note_erased,
}
