"""What clients may send. All checks are here and in `fields`; what goes on to the services is right."""
# ruff: noqa: N815 - the names are those of the API

from decimal import Decimal
from typing import Any

from flask import current_app
from marshmallow import Schema, ValidationError, fields, post_load, validates_schema

from app.errors import NotFound
from app.http.fields import Amount, Choice, ListOf, Moment, ObjectOf, Pairs, Text, Whole, is_finer, text
from app.http.pointers import UNKNOWN
from app.money import DECIMALS, to_minor
from app.orders.model import PAYMENT, STATUS

# Spaces and control characters, said so that Python and ECMAScript agree on what they are.
_GAPS = r"\s\u0000-\u001f\u007f\u0085\ufeff"
_EMAIL = (rf"^[^@{_GAPS}]{{1,64}}@[^@.{_GAPS}]+(\.[^@.{_GAPS}]+)+$", "must be an email address")
_COUNTRY = (r"^[A-Z]{2}$", "must be a country code of ISO 3166-1 such as DE")
_WEB_ADDRESS = (
    rf"^https?://[^/?#@\[\]\\{_GAPS}]+([/?#][^{_GAPS}]*)?$",
    "must be a URL that begins with https:// or http://, without user or password",
)
MOST_LINES, MOST_OF_A_LINE, MOST_ON_HAND = 200, 1_000_000, 1_000_000_000
ID_LENGTH = 128


class Input(Schema):
    """An object in which every field is known."""

    error_messages = {"type": "must be an object", "unknown": UNKNOWN}  # noqa: RUF012 - marshmallow's own


class LineIn(Input):
    """A line of a new order."""

    productId = Text(ID_LENGTH, required=True)
    quantity = Whole(1, MOST_OF_A_LINE, required=True)
    unitPrice = Amount()


class Address(Input):
    """Where an order goes."""

    name = Text(200)
    line1 = Text(200)
    line2 = Text(200)
    city = Text(100)
    region = Text(100)
    postalCode = Text(20)
    country = Text(2, form=_COUNTRY)


class OrderIn(Input):
    """A new order. Where every line has a `unitPrice`, the lines must add up to `totalAmount`."""

    userId = Text(ID_LENGTH, required=True)
    products = ListOf(ObjectOf(LineIn), 1, MOST_LINES, required=True)
    totalAmount = Amount(required=True)
    currency = Choice(sorted(DECIMALS), kind="a currency of ISO 4217 such as USD")
    paymentMethod = Text(255)
    reference = Text(64)
    email = Text(254, form=_EMAIL)
    shippingAddress = ObjectOf(Address)
    metadata = Pairs()

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_amounts(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """No amount has more decimals than the currency has, and the lines add up.

        Finds what it can where other fields are wrong: those are not in the data.
        """
        if not isinstance(original, dict):
            return
        currency = data.get("currency") if "currency" in original else _default_currency()
        lines = data.get("products", [])
        if lines and len(lines) != len(original["products"]):
            lines = []  # some are no objects, and the rest are out of place
        faults = _too_fine(data, lines, currency) if currency else {}
        expected, total = _sum(lines), data.get("totalAmount")
        if None not in (expected, total) and expected != total and "totalAmount" not in faults:
            faults["totalAmount"] = [f"is not what the lines add up to ({expected})"]
        if faults:
            raise ValidationError(faults)

    @post_load
    def to_minor_units(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """A draft: amounts in minor units, and the currency that they are in."""
        currency = data.setdefault("currency", _default_currency())
        data["totalAmount"] = to_minor(data["totalAmount"], currency)
        for line in data["products"]:
            if "unitPrice" in line:
                line["unitPrice"] = to_minor(line["unitPrice"], currency)
        return data


class Tracking(Input):
    """How to follow the parcel."""

    carrier = Text(100)
    number = Text(100)
    url = Text(2000, form=_WEB_ADDRESS)


class StatusChange(Input):
    """A change of an order's status; `tracking` goes with `shipped`, `reason` with `cancelled`."""

    status = Choice(tuple(STATUS), required=True)
    tracking = ObjectOf(Tracking)
    reason = Text(500, lines=True)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_company(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """What is said of a change fits the change."""
        if isinstance(original, dict) and "status" in data:
            company = {"tracking": "shipped", "reason": "cancelled"}
            faults = {
                name: [f"goes with the status {status} only"]
                for name, status in company.items()
                if name in original and data["status"] != status
            }
            if faults:
                raise ValidationError(faults)


class LevelIn(Input):
    """The level to set."""

    onHand = Whole(0, MOST_ON_HAND, required=True)


class AdjustmentIn(Input):
    """A movement to make; a negative quantity takes away."""

    quantity = Whole(-MOST_ON_HAND, MOST_ON_HAND, required=True)
    reason = Text(200, required=True)

    @validates_schema
    def check_quantity(self, data: dict[str, Any], **_: Any) -> None:
        """Something moves."""
        if data["quantity"] == 0:
            raise ValidationError({"quantity": ["must not be 0"]})


class VersionQuery(Input):
    """Which version of an order to show. Any number may be asked for; there may be no such version."""

    version = Text(1000, form=(r"^-?[0-9]{1,18}$", "must be a whole number"))


class PageQuery(Input):
    """Which page of a listing."""

    limit = Whole(1, 100, spelled=True, load_default=25)
    # Whatever is wrong with it, it is a bad cursor, which is for `paging` to say.
    cursor = fields.String(error_messages={"invalid": "may be given only once"})


class OrdersQuery(PageQuery):
    """Which orders to list; the filters combine with and."""

    userId = Text(ID_LENGTH)
    status = ListOf(Choice(tuple(STATUS)))
    paymentStatus = Choice(tuple(PAYMENT))
    productId = Text(ID_LENGTH)
    reference = Text(64)
    createdFrom = Moment()
    createdTo = Moment()
    sort = Choice(("createdAt", "-createdAt"), load_default="-createdAt")


def require_product_id(given: str) -> str:
    """The id out of a path. Raises NotFound where no product can have it."""
    try:
        return text(given, 1, ID_LENGTH)
    except ValidationError as error:
        raise NotFound("There can be no such product.") from error


def _default_currency() -> str:
    return current_app.extensions["services"].settings.default_currency


def _too_fine(order: dict[str, Any], lines: list[dict[str, Any]], currency: str) -> dict[Any, Any]:
    decimals = DECIMALS[currency]
    complaint = [f"has more decimals than {currency} has ({decimals})"]
    faults: dict[Any, Any] = {}
    if "totalAmount" in order and is_finer(order["totalAmount"], decimals):
        faults["totalAmount"] = complaint
    prices = {
        index: {"unitPrice": complaint}
        for index, line in enumerate(lines)
        if "unitPrice" in line and is_finer(line["unitPrice"], decimals)
    }
    if prices:
        faults["products"] = prices
    return faults


def _sum(lines: list[dict[str, Any]]) -> Decimal | None:
    """What the lines add up to; None where one has no price, or is not right."""
    total = Decimal(0)
    for line in lines:
        if "unitPrice" not in line or "quantity" not in line:
            return None
        total += line["unitPrice"] * line["quantity"]
    return total if lines else None
