"""How things look from outside: the contract's names and order, exact amounts, nothing without a value."""

from datetime import datetime
from typing import Any

import orjson

from app import money
from app.clock import to_text
from app.orders.log import Event
from app.orders.model import Order
from app.orders.reading import reading
from app.orders.refunds import Refund
from app.stock.model import Level, Movement

_PERSONAL = ("email", "shippingAddress", "metadata")
_LEVEL = ("productId", "onHand", "version", "updatedAt")
_MOVEMENT = ("id", "quantity", "kind", "orderId", "reason", "at")


def order(found: Order) -> orjson.Fragment:
    """An order. Raises OrderUnreadable where a part is missing or of another type."""
    return orjson.Fragment(order_text(found))


def order_text(found: Order) -> bytes:
    """The same as JSON text."""
    with reading(found["id"]):
        return orjson.dumps(_order(found))


def refund(found: Refund, owner: Order) -> dict[str, Any]:
    """A refund of an order."""
    shown: dict[str, Any] = {
        "id": found["id"],
        "orderId": owner["id"],
        "amount": _amount(found["amount"], owner["currency"]),
        "currency": owner["currency"],
        "status": found["status"],
        "reason": found.get("reason"),
        "products": found.get("products"),
        "failure": found.get("failure"),
        "restocked": found.get("restocked"),
        "attempt": found["attempt"],
        "createdAt": to_text(found["createdAt"]),
        "updatedAt": to_text(found["updatedAt"]),
    }
    return _present(shown)


def event(entry: Event, owner: Order) -> dict[str, Any]:
    """An entry of an order's log.

    The first also shows the customer's personal data while they are kept; the log has their digest alone.
    """
    # An event's times are its data's own members, its amounts may be deeper.
    shown = money.with_amounts(entry["data"], lambda minor: _amount(minor, owner["currency"]))
    data = {name: _plain(value) for name, value in shown.items()}
    if "personalDigest" in data:
        personal = owner.get("personal", {})
        data |= {name: personal[name] for name in _PERSONAL if name in personal}  # type: ignore[literal-required]
    return {
        "sequence": entry["sequence"],
        "type": entry["type"],
        "at": to_text(entry["at"]),
        "actor": entry["actor"],
        "data": data,
        "hash": entry["hash"],
    }


def level(found: Level) -> dict[str, Any]:
    """The stock level of a product."""
    return {name: _plain(found[name]) for name in _LEVEL}  # type: ignore[literal-required]


def movement(found: Movement) -> dict[str, Any]:
    """A row of a product's ledger."""
    return {name: _plain(found[name]) for name in _MOVEMENT if name in found}  # type: ignore[literal-required]


def _order(found: Order) -> dict[str, Any]:
    currency = found["currency"]
    payment = found["payment"]
    personal = found.get("personal", {})
    shown: dict[str, Any] = {
        "id": found["id"],
        "userId": found["userId"],
        "reference": found.get("reference"),
        "products": [_line(line, currency) for line in found["products"]],
        "totalAmount": _amount(found["totalAmount"], currency),
        "currency": currency,
        "status": found["status"],
        "payment": _present(
            {
                "status": payment["status"],
                "method": payment.get("method"),
                # A provider that was not called for a charge of nothing gave it none.
                "reference": payment.get("reference") or None,
                "capturedAmount": _amount(payment["capturedAmount"], currency),
                "refundedAmount": _amount(payment["refundedAmount"], currency),
                "action": payment.get("action"),
                "failure": payment.get("failure"),
            }
        ),
        "stock": found["stock"],
        "email": personal.get("email"),
        "shippingAddress": personal.get("shippingAddress"),
        "metadata": personal.get("metadata"),
        "tracking": found.get("tracking"),
        "cancellation": found.get("cancellation"),
        "version": found["version"],
        "createdAt": to_text(found["createdAt"]),
        "updatedAt": to_text(found["updatedAt"]),
    }
    return _present(shown)


def _line(line: Any, currency: str) -> dict[str, Any]:
    shown = {**line}
    if "unitPrice" in line:
        shown["unitPrice"] = _amount(line["unitPrice"], currency)
    return shown


def _amount(minor: int, currency: str) -> orjson.Fragment:
    return orjson.Fragment(money.to_text(minor, currency))


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _plain(value: Any) -> Any:
    return to_text(value) if isinstance(value, datetime) else value
