"""Corrections of an order: merge patches (RFC 7396), and the fold of the events that record corrections."""

from collections.abc import Callable, Mapping
from typing import Any

from app.orders.fields import AMENDABLE, PERSONAL
from app.orders.log import Event

# The amendable fields that are part of the log.
_LOGGED = tuple(name for name in AMENDABLE if name not in PERSONAL)


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


# What each of these events changes in an order, beyond its version and time.
FOLDS: dict[str, Callable[[dict[str, Any], Event], None]] = {"order.amended": _amended}
