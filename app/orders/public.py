"""The public form of an order: the contract's field names in the contract's order, and exact amounts.

Fields without a value are left out.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson

from app import money
from app.clock import to_text
from app.orders.events import EVENTS
from app.orders.fields import HOLD, ORDER, PERSONAL, REFUND_STATE, with_amounts
from app.orders.goods import PartCancellation, Return, Shipment, fulfillment, numbered, summed
from app.orders.goods_fields import PART_CANCELLATION, RETURN, SHIPMENT
from app.orders.holds import Hold
from app.orders.log import Event
from app.orders.model import Order
from app.orders.pieces import breakdowns
from app.orders.reading import reading
from app.orders.refunds import Refund
from app.shapes import Amount, Field, Kind, Many, Moment, Record

# Returns the public form of a value; the second argument is the currency.
_Form = Callable[[Any, str], Any]


def order(found: Order, *, for_shop: bool) -> orjson.Fragment:
    """The public form of an order, for the shop or for customers, who do not see the internal fields.

    Raises OrderUnreadable if a field is missing or has the wrong type.
    """
    return orjson.Fragment(order_text(found, for_shop=for_shop))


def order_text(found: Order, *, for_shop: bool) -> bytes:
    """The public form of an order as JSON text. Raises OrderUnreadable, as `order` does."""
    form = _ORDER if for_shop else _CUSTOMERS_ORDER
    with reading(found["id"]):
        derived = {"fulfillment": fulfillment(found), "stock": _stock(found)}
        return orjson.dumps(form({**found.get("personal", {}), **found, **derived}, found["currency"]))


def _stock(found: Order) -> dict[str, Any]:
    """The state of the stock. Only a pending order holds stock for a limited time."""
    stock: dict[str, Any] = {**found["stock"]}
    if found["status"] != "pending" or stock["status"] != "decremented":
        stock.pop("heldUntil", None)
    return stock


def hold(found: Hold) -> dict[str, Any]:
    """The public form of a hold, for the shop."""
    shown: dict[str, Any] = _HOLD(found, "")
    return shown


def cancellation(found: PartCancellation, owner: Order) -> dict[str, Any]:
    """The public form of a part cancellation of the order `owner`."""
    shown = _CANCELLATION(found, owner["currency"])
    return {"id": shown.pop("id"), "orderId": owner["id"], "currency": owner["currency"], **shown}


def shipment(found: Shipment, owner: Order) -> dict[str, Any]:
    """The public form of a shipment of the order `owner`."""
    shown = _SHIPMENT(found, owner["currency"])
    return {"id": shown.pop("id"), "orderId": owner["id"], **shown}


def refund(found: Refund, owner: Order) -> dict[str, Any]:
    """The public form of a refund of the order `owner`."""
    return next(shown for shown in refunds(owner) if shown["id"] == found["id"])


def refunds(owner: Order) -> list[dict[str, Any]]:
    """The public form of all refunds of the order."""
    pairs = zip(owner.get("refunds", ()), breakdowns(owner), strict=True)
    return [_refund(found, owner, breakdown) for found, breakdown in pairs]


def _refund(found: Refund, owner: Order, breakdown: dict[str, int] | None) -> dict[str, Any]:
    shown = _REFUND({**found, "breakdown": breakdown}, owner["currency"])
    return {"id": shown.pop("id"), "orderId": owner["id"], "currency": owner["currency"], **shown}


def returned(found: Return, owner: Order) -> dict[str, Any]:
    """The public form of a return of the order `owner`."""
    shown = _RETURN(found, owner["currency"])
    more = summed(owner, [{"products": one.get("unannounced", ())} for one in found["receipts"]])
    derived = {"unannounced": numbered(more)} if any(more) else {}
    return {"id": shown.pop("id"), "orderId": owner["id"], **shown, **derived}


def event(entry: Event, owner: Order, *, for_shop: bool) -> dict[str, Any]:
    """The public form of one event of the order `owner`. Customers do not see its internal data.

    The log has only a digest of the customer's personal data. So the first event shows the data themselves,
    from the order, until they are erased.
    """
    hidden = () if for_shop else EVENTS[entry["type"]].internal
    shown = with_amounts(entry["data"], lambda minor: _amount(minor, owner["currency"]))
    data: dict[str, Any] = _plain(shown, hidden)
    if entry["type"] == "order.created":
        personal = owner.get("personal", {})
        data |= {name: personal[name] for name in PERSONAL if name in personal}  # type: ignore[literal-required]
    if not (for_shop or _is_customers(entry, owner)):
        data = {}
    return {
        "sequence": entry["sequence"],
        "type": entry["type"],
        "at": to_text(entry["at"]),
        "actor": entry["actor"],
        "data": data,
        "hash": entry["hash"],
    }


def _plain(value: Any, hidden: Sequence[str]) -> Any:
    """The value with times as text, and without the fields in `hidden` at any depth."""
    match value:
        case datetime():
            return to_text(value)
        case dict():
            return {name: _plain(inner, hidden) for name, inner in value.items() if name not in hidden}
        case list():
            return [_plain(item, hidden) for item in value]
    return value


def _is_customers(entry: Event, owner: Order) -> bool:
    """Whether customers see the data of the event, beyond its internal ones. They see no internal note."""
    note_id = entry["data"].get("noteId")
    seen = {note["id"] for note in owner.get("notes", ()) if note["visibility"] == "customer"}
    return note_id is None or note_id in seen


def _amount(minor: int, currency: str) -> orjson.Fragment:
    return orjson.Fragment(money.to_text(minor, currency))


def _moment(at: datetime, _currency: str) -> str:
    return to_text(at)


def _form(kind: Kind, *, for_shop: bool) -> _Form | None:
    """The function that converts a value of this kind to its public form; None if it needs no conversion."""
    match kind:
        case Amount():
            return _amount
        case Moment():
            return _moment
        case Record():
            return _record(kind.fields, for_shop=for_shop)
        case Many(of=Record() as item, numbered=str(number)) if number:
            each = _record(tuple(field for field in item.fields if field.name != number), for_shop=for_shop)
            return lambda values, currency: [
                {number: position, **each(value, currency)} for position, value in enumerate(values, 1)
            ]
        case Many() if inner := _form(kind.of, for_shop=for_shop):
            return lambda values, currency: [inner(value, currency) for value in values]
    return None


def _record(fields: tuple[Field, ...], *, for_shop: bool = True) -> _Form:
    """Returns a function that converts an object with these fields to its public form.

    That function raises KeyError if a required field is missing.
    """
    forms = [
        (field.name, _form(field.kind, for_shop=for_shop), field.always)
        for field in fields
        if field.shown and (for_shop or not field.internal)
    ]

    def record(found: Any, currency: str) -> dict[str, Any]:
        shown = {}
        for name, form, always in forms:
            value = found[name] if always else found.get(name)
            # An order over nothing is not charged at the provider, and has an empty reference.
            if value is not None and value != "":
                shown[name] = form(value, currency) if form else value
        return shown

    return record


_ORDER, _CUSTOMERS_ORDER = _record(ORDER), _record(ORDER, for_shop=False)
_REFUND, _HOLD, _CANCELLATION, _RETURN, _SHIPMENT = (
    _record(one.fields) for one in (REFUND_STATE, HOLD, PART_CANCELLATION, RETURN, SHIPMENT)
)
