"""The public form of stock levels and movements."""

from typing import Any

from app.orders.public import plain
from app.stock.model import Level, Movement

_LEVEL = ("productId", "onHand", "version", "updatedAt")
_MOVEMENT = ("id", "quantity", "kind", "orderId", "reason", "at")


def level(found: Level) -> dict[str, Any]:
    """The public form of a stock level."""
    return {name: plain(found[name]) for name in _LEVEL}  # type: ignore[literal-required]


def movement(found: Movement) -> dict[str, Any]:
    """The public form of a movement."""
    return {name: plain(found[name]) for name in _MOVEMENT if name in found}  # type: ignore[literal-required]
