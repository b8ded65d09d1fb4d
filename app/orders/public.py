"""How an order looks from outside: the contract's names and order, exact amounts, nothing without a value."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from app import money
from app.clock import to_text
from app.orders.fields import ORDER, PERSONAL, REFUND_STATE, with_amounts
from app.orders.log import Event
from app.orders.model import Order
from app.orders.reading import reading
from app.orders.refunds import Refund
from app.shapes import Amount, Field, Kind, Many, Moment, Record

# Makes the public form of a value that is in this currency.
_Form = Callable[[Any, str], Any]


def order(found: Order) -> orjson.Fragment:
    """An order. Raises OrderUnreadable where a part is missing or of another type."""
    return orjson.Fragment(order_text(found))


def order_text(found: Order) -> bytes:
    """The same as JSON text."""
    with reading(found["id"]):
        return orjson.dumps(_ORDER({**found.get("personal", {}), **found}, found["currency"]))


def refund(found: Refund, owner: Order) -> dict[str, Any]:
    """A refund of an order."""
    shown = _REFUND(found, owner["currency"])
    return {"id": shown.pop("id"), "orderId": owner["id"], "currency": owner["currency"], **shown}


def event(entry: Event, owner: Order) -> dict[str, Any]:
    """An entry of an order's log.

    The first also shows the customer's personal data while they are kept; the log has their digest alone.
    """
    # An event's times are its data's own members, its amounts may be deeper.
    shown = with_amounts(entry["data"], lambda minor: _amount(minor, owner["currency"]))
    data = {name: plain(value) for name, value in shown.items()}
    if "personalDigest" in data:
        personal = owner.get("personal", {})
        data |= {name: personal[name] for name in PERSONAL if name in personal}  # type: ignore[literal-required]
    return {
        "sequence": entry["sequence"],
        "type": entry["type"],
        "at": to_text(entry["at"]),
        "actor": entry["actor"],
        "data": data,
        "hash": entry["hash"],
    }


def plain(value: Any) -> Any:
    """The value, a time as text."""
    return to_text(value) if isinstance(value, datetime) else value


def _amount(minor: int, currency: str) -> orjson.Fragment:
    return orjson.Fragment(money.to_text(minor, currency))


def _moment(at: datetime, _currency: str) -> str:
    return to_text(at)


def _form(kind: Kind) -> _Form | None:
    """What makes the public form of such a value; None where it is that already."""
    match kind:
        case Amount():
            return _amount
        case Moment():
            return _moment
        case Record():
            return _record(kind.fields)
        case Many() if inner := _form(kind.of):
            return lambda values, currency: [inner(value, currency) for value in values]
    return None


def _record(fields: tuple[Field, ...]) -> _Form:
    """Makes the public form of an object with these fields. It raises KeyError if one is missing
    that is always there."""
    forms = [(field.name, _form(field.kind), field.always) for field in fields if field.shown]

    def record(found: Any, currency: str) -> dict[str, Any]:
        shown = {}
        for name, form, always in forms:
            value = found[name] if always else found.get(name)
            # A provider that was not asked about a charge of nothing gave it an empty reference.
            if value is not None and value != "":
                shown[name] = form(value, currency) if form else value
        return shown

    return record


_ORDER, _REFUND = _record(ORDER), _record(REFUND_STATE.fields)
