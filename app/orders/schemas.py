"""The requests and answers about orders. The fields of an order come from `orders.fields`."""
# ruff: noqa: N815 - the names are those of the API

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import current_app
from marshmallow import ValidationError, fields, post_load, validates_schema

from app.errors import Fault, MistypedNumber, QuoteInvalid
from app.http import pointers
from app.http.fields import Checked, Choice, ListOf, Moment, ObjectOf, Text
from app.http.fields import text as text_of
from app.http.request_context import may_set_prices
from app.http.schemas import (
    ORDER_ID,
    Answer,
    Input,
    PageQuery,
    flag,
    listed,
    mapping,
    moment,
    nested,
    next_cursor,
    text,
    whole,
)
from app.http.shaping import answer_schema, input_fields, input_schema
from app.money import to_minor
from app.orders import amounts
from app.orders.events import EVENTS
from app.orders.fields import HOLD, HOLDS, ORDER
from app.orders.goods_fields import TRACKING
from app.orders.holds import BLOCKS, CANCEL, MOST_HOLDS, RELEASE
from app.orders.numbers import parse
from app.orders.shortages import BACKORDER, PARTIAL
from app.orders.states import PAYMENT, STATUS
from app.orders.values import EMAIL, ID_LENGTH, TAG
from app.shapes import Record

MISTYPED = "must be an order's number such as 7KQ4-2M9X-D; its last sign is a check"


class Number(Checked, fields.String):
    """The number of an order as a person writes it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        # Text of any kind is no number, rather than text that is not allowed.
        number = parse(value if isinstance(value, str) else text_of(value, 0, 1000))
        if number is None:
            raise ValidationError(MISTYPED)
        return number


def _yes_or_no(doc: str) -> Choice:
    return Choice(("true", "false"), kind="true or false", doc=doc)


Order = answer_schema(Record("Order", "An order.", ORDER, sent="OrderIn"))

Hold = answer_schema(HOLD)
NEW_HOLD = {
    "code": "fraud_review",
    "reason": "The card is from another country",
    "blocks": ["capture", "ship"],
}
HOLD_EXAMPLE = {**NEW_HOLD, "then": "release", "createdAt": "2024-10-04T10:00:00.000Z"}


class HoldIn(Input.from_dict(input_fields(HOLD.fields))):  # type: ignore[misc]
    """A new hold. `then` may only be `cancel` together with `until`."""

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_company(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Checks that `then` fits `until`."""
        if isinstance(original, dict) and data.get("then") == CANCEL and "until" not in original:
            raise ValidationError({"then": ["may be cancel only together with until"]})

    @post_load
    def complete(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The hold with all of its fields."""
        blocks = data.get("blocks", BLOCKS)
        return {
            **data,
            "blocks": [step for step in BLOCKS if step in blocks],
            "then": data.get("then", RELEASE),
        }


class ReleaseIn(Input):
    """The release of a hold. The body may be empty."""

    may_be_empty = True

    reason = Text(500, lines=True, doc="Why the hold is released, for the shop alone.")


# What a quote says of an order. A request with a quote may leave it out.
BASKET = ("products", "adjustments", "currency", "totalAmount")
_NEEDED = ("products", "totalAmount")
_SENT = [replace(field, given="optional") if field.name in _NEEDED else field for field in ORDER]


class Quote(Checked, fields.String):
    """A quote. Every text that is not one is a quote that is not valid."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("must be a string")
        return value


class OrderIn(Input.from_dict(input_fields(_SENT))):  # type: ignore[misc]
    """A new order. If every line has a `unitPrice`, `totalAmount` must be the sum of lines and adjustments.

    A tax that is `included` in the prices is not added. No line's share of the total may be below 0. An order
    with a `quote` may leave out `products`, `adjustments`, `currency`, `totalAmount` and every `unitPrice`.
    """

    holds = ListOf(ObjectOf(HoldIn), 0, MOST_HOLDS, doc=HOLDS.doc)
    quote = Quote(
        doc="The lines and the total of the order, priced and signed by the shop (a JWS in its compact form)."
    )

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_amounts(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Checks the decimals of all amounts, the adjustments and the total, unless a quote gives them.

        `data` lacks the fields that are invalid, so this checks the others.
        """
        if not isinstance(original, dict) or not self._is_complete(original):
            return
        currency = data.get("currency") if "currency" in original else _default_currency()
        faults = amounts.faults_in(data, original, currency)
        faults |= {name: ["is required"] for name in _NEEDED if name not in original}
        if faults:
            raise ValidationError(faults)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_shortage(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Checks that `onShortage` fits `backorderUntil` and the prices."""
        if not isinstance(original, dict):
            return
        choice, faults = data.get("onShortage"), dict[str, list[str]]()
        if choice == BACKORDER and "backorderUntil" not in original:
            faults["backorderUntil"] = ["is required with backorder"]
        # An unknown choice is a fault of its own.
        if (
            "backorderUntil" in original
            and choice != BACKORDER
            and ("onShortage" in original) == bool(choice)
        ):
            faults["backorderUntil"] = ["is only allowed with backorder"]
        if choice == PARTIAL and self._is_complete(original) and _lacks_a_price(original.get("products")):
            faults["onShortage"] = ["may be partial only if every line has a unitPrice"]
        if faults:
            raise ValidationError(faults)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_holds(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Checks that no two holds have the same code."""
        if not isinstance(original, dict) or not isinstance(original.get("holds"), list):
            return
        codes = [hold.get("code") if isinstance(hold, dict) else None for hold in original["holds"]]
        faults = {
            position: {"code": ["must not be the code of another hold"]}
            for position, code in enumerate(codes)
            if isinstance(code, str) and code in codes[:position]
        }
        if faults:
            raise ValidationError({"holds": faults})

    @post_load
    def to_minor_units(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The draft of an order, with amounts in minor units and their currency.

        As it was sent, if a quote gives the amounts, or has to.
        """
        return in_minor_units(data) if self._is_complete(data) else data

    def _is_complete(self, order: dict[str, Any]) -> bool:
        """Whether the order itself has its prices."""
        return "quote" not in order and may_set_prices()


def _lacks_a_price(lines: Any) -> bool:
    """Whether some line has no price. What is no line is a fault of its own."""
    found = lines if isinstance(lines, list) else []
    return any(isinstance(line, dict) and "unitPrice" not in line for line in found)


class Basket(OrderIn):
    """The basket of a quote, which has all prices, and the quote's id."""

    jti = Text(255)

    class Meta:
        """Nothing else of an order."""

        fields = (*BASKET, "jti")

    @validates_schema(skip_on_field_errors=False)
    def check_prices(self, data: dict[str, Any], **_: Any) -> None:
        """Checks that every line has a price."""
        faults: dict[int, Any] = {
            place: {"unitPrice": ["is required"]}
            for place, line in enumerate(data.get("products", ()))
            if "unitPrice" not in line
        }
        if faults:
            raise ValidationError({"products": faults})

    @post_load
    def to_minor_units(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The basket with its currency."""
        data.setdefault("currency", _default_currency())
        return data

    def _is_complete(self, _: dict[str, Any]) -> bool:
        return True


_BASKET = Basket()


def basket_in(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The basket in the claims of a quote, in major units, and its `jti`. Raises QuoteInvalid."""
    said = {name: claims[name] for name in _BASKET.fields if name in claims}
    try:
        basket: dict[str, Any] = _BASKET.load(said)
    except ValidationError as error:
        faults = pointers.faults(error.messages)
        details = (f"must have a valid basket: {fault.pointer} {fault.detail}" for fault in faults)
        raise QuoteInvalid(*(Fault("/quote", detail) for detail in details)) from error
    return basket


def in_minor_units(data: dict[str, Any]) -> dict[str, Any]:
    """The order or basket, changed in place, with amounts in minor units and their currency."""
    currency = data.setdefault("currency", _default_currency())
    data["totalAmount"] = to_minor(data["totalAmount"], currency)
    for line in data["products"]:
        if "unitPrice" in line:
            line["unitPrice"] = to_minor(line["unitPrice"], currency)
    for adjustment in data.get("adjustments", ()):
        adjustment["amount"] = to_minor(adjustment["amount"], currency)
    return data


class StatusChange(Input):
    """A change of status. `tracking` is only allowed with `shipped`, `reason` only with `cancelled`."""

    status = Choice(
        tuple(STATUS), required=True, doc="The new status: `shipped`, `delivered` or `cancelled`."
    )
    tracking = ObjectOf(input_schema(TRACKING), doc="The data for tracking the parcel.")
    reason = Text(500, lines=True, doc="Why the order is cancelled.")

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_company(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Checks that `tracking` and `reason` fit the status."""
        if isinstance(original, dict) and "status" in data:
            company = {"tracking": "shipped", "reason": "cancelled"}
            faults = {
                name: [f"is only allowed with the status {status}"]
                for name, status in company.items()
                if name in original and data["status"] != status
            }
            if faults:
                raise ValidationError(faults)


class VersionQuery(Input):
    """The version of an order to get."""

    version = Text(
        1000,
        form=(r"^-?[0-9]{1,18}$", "must be a whole number"),
        doc="The version of the order to get; the current one without it.",
    )


class OrdersQuery(PageQuery):
    """The parameters of a page of orders. An order must match all filters."""

    userId = Text(ID_LENGTH, doc="Only orders of this user.")
    status = ListOf(Choice(tuple(STATUS)), doc="Only orders with this status, or with one of several.")
    paymentStatus = Choice(tuple(PAYMENT), doc="Only orders whose payment has this status.")
    productId = Text(ID_LENGTH, doc="Only orders with a line of this product.")
    reference = Text(64, doc="Only orders with this `reference`.")
    number = Number(doc="Only the order with this `number`, without regard to case and dashes.")
    email = Text(254, form=EMAIL, doc="Only orders with this `email`, without regard to case.")
    trackingNumber = Text(
        100, doc="Only orders with this tracking number on a shipment that is not cancelled."
    )
    q = Text(254, doc="Only orders with exactly this id, number, `reference`, `email` or tracking number.")
    createdFrom = Moment(doc="Only orders created at this time or later.")
    createdTo = Moment(doc="Only orders created before this time.")
    updatedFrom = Moment(doc="Only orders last changed at this time or later.")
    updatedTo = Moment(doc="Only orders last changed before this time.")
    tag = ListOf(
        Text(40, form=TAG), doc="Only orders with this tag, or with all of several. Needs `orders:admin`."
    )
    held = _yes_or_no("Only orders with a hold, or without. Needs `orders:admin`.")
    overdue = _yes_or_no("Only orders with a step past its deadline, or without. Needs `orders:admin`.")
    sort = Choice(
        ("createdAt", "-createdAt", "updatedAt", "-updatedAt"),
        load_default="-createdAt",
        doc="The order of the list, by creation or by last change. With `-`, the newest is first.",
    )

    def handle_error(self, error: ValidationError, data: Any, **_: Any) -> None:
        """Raises MistypedNumber if a number that cannot be one is the only fault."""
        if error.messages == {"number": [MISTYPED]}:
            raise MistypedNumber(Fault("/number", MISTYPED)) from error


class OrderAnswer(Answer):
    """An order and a message."""

    message = text("What happened to the order.")
    order = nested(Order, "The order.")


class Orders(Answer):
    """A page of orders."""

    orders = listed(fields.Nested(Order), "The orders of the page.")
    unreadable = listed(
        fields.String(metadata={"pattern": ORDER_ID}),
        "The ids of the orders of this page that are damaged and cannot be shown.",
        required=False,
    )
    nextCursor = next_cursor()


class Event(Answer):
    """An event of an order."""

    sequence = whole("The version of the order after the event.", minimum=1)
    type = text("The type of the event.", enum=list(EVENTS))
    at = moment("The time of the event.")
    actor = text("The part of the service, or the user, that made the change.")
    data = mapping("The data of the event; they depend on its type.")
    hash = text(
        "SHA-256 of the previous hash and this event; docs/events.md has the exact rule.",
        pattern="^[0-9a-f]{64}$",
    )


class Events(Answer):
    """The events of an order."""

    events = listed(fields.Nested(Event), "The events, oldest first.")


class Verification(Answer):
    """Whether the events are unchanged."""

    intact = flag("Whether all events are unchanged.")
    firstBadSequence = whole("The first changed event; absent if all are intact.", required=False, minimum=1)


def _default_currency() -> str:
    return current_app.extensions["services"].settings.default_currency
