"""The hashes of an order's events, written from docs/events.md alone, with nothing of the service."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

DECIMALS = {"USD": 2, "JPY": 0, "KWD": 3}
AMOUNTS = ("totalAmount", "unitPrice", "capturedAmount", "refundedAmount", "amount")
PERSONAL = ("email", "shippingAddress", "metadata")
ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def hashes(order_id: str, answer: str) -> list[str]:
    """The hash that each event of an answer of `GET /orders/{id}/events` should have."""
    events = json.loads(answer, parse_float=Decimal)["events"]
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts(order_id, events)]


def texts(order_id: str, events: list[dict[str, Any]]) -> list[str]:
    """The texts that are hashed, one for each event."""
    decimals = DECIMALS[events[0]["data"]["currency"]]
    previous, made = order_id, []
    for event in events:
        data = {name: value for name, value in event["data"].items() if name not in PERSONAL}
        whole = in_minor_units(data, decimals)
        made.append(
            canonical([previous, event["sequence"], event["type"], event["at"], event["actor"], whole])
        )
        previous = hashlib.sha256(made[-1].encode()).hexdigest()
    return made


def in_minor_units(value: Any, decimals: int, name: str = "") -> Any:
    """The value with every amount in it as a whole number."""
    if isinstance(value, dict):
        return {name: in_minor_units(inner, decimals, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [in_minor_units(inner, decimals) for inner in value]
    return int(value * 10**decimals) if name in AMOUNTS else value


def canonical(value: Any) -> str:
    """The one form of a value in JSON."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(map(escaped, value)) + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    assert isinstance(value, int), value
    return str(value)


def escaped(letter: str) -> str:
    """A character as it stands in a string."""
    return ESCAPES.get(letter) or (f"\\u{ord(letter):04x}" if letter < " " else letter)
