"""The fields of an order, each defined once.

Several parts of the service are derived from this table: the schemas of requests and answers, the database's
validator, the fields that compare-and-set writes, the fields that the audit compares, and the public form.
"""

from collections.abc import Callable
from typing import Any

from app.money import DECIMALS
from app.orders.shares import KINDS
from app.orders.states import CANCELLATION_REASONS, PAYMENT, REFUND, STATUS, STOCK
from app.shapes import Amount, Choice, Field, Flag, Many, Moment, Pairs, Record, Text, Whole, names

ID_LENGTH = 128
MOST_LINES, MOST_OF_A_LINE = 200, 1_000_000
MOST_ADJUSTMENTS = 100

# Spaces and control characters, in a notation that Python and ECMAScript read in the same way.
_GAPS = r"\s\u0000-\u001f\u007f\u0085\ufeff"
EMAIL = (rf"^[^@{_GAPS}]{{1,64}}@[^@.{_GAPS}]+(\.[^@.{_GAPS}]+)+$", "must be an email address")
COUNTRY = (r"^[A-Z]{2}$", "must be an ISO 3166-1 country code such as DE")
WEB_ADDRESS = (
    rf"^https?://[^/?#@\[\]\\{_GAPS}]+([/?#][^{_GAPS}]*)?$",
    "must be a URL that begins with https:// or http://, without user or password",
)
ORDER_ID = (r"^[0-9a-f]{24}$", "must be an order's id")


def _may(name: str, kind: Text | Whole | Flag, doc: str = "") -> Field:
    """An optional field that clients may send. It is absent if they do not."""
    return Field(name, kind, doc, given="optional", always=False)


def _own(name: str, kind: Text | Record | Many | Moment | Flag, doc: str = "") -> Field:
    """A field that the service sets, and that is not always present."""
    return Field(name, kind, doc, always=False)


LINE = Record(
    "Line",
    "A line of an order.",
    (
        Field("line", Whole(1), "The number of the line. Lines are numbered from 1.", stored=False),
        Field("productId", Text(ID_LENGTH), given="required"),
        Field("quantity", Whole(1, MOST_OF_A_LINE), given="required"),
        Field("unitPrice", Amount(), given="optional", always=False),
    ),
    sent="LineIn",
)
ADJUSTMENT = Record(
    "OrderAdjustment",
    "A part of the total beside the lines: shipping, a tax, a discount, a fee or a tip.",
    (
        Field(
            "kind", Choice(KINDS), "A `discount` is 0 or less, the others are 0 or more.", given="required"
        ),
        _may("name", Text(100), "A name that the customer understands. The mails show it."),
        Field("amount", Amount(signed=True), given="required"),
        _may("line", Whole(1, MOST_LINES), "The line that it is for. Without it, it is for the whole order."),
        _may("included", Flag(), "Only for a `tax`. The prices include it, so the total does not add it."),
    ),
)
FAILURE = Record("Failure", "The reason for the decline.", (Field("code", Text()), Field("message", Text())))
ACTION = Record(
    "Action",
    "An action that the customer has to take before the payment continues.",
    (
        Field("type", Text(), "The type of the action, as the payment provider names it."),
        Field("clientSecret", Text(), "A secret for the provider's library in the customer's browser."),
    ),
)
PAYMENT_STATE = Record(
    "Payment",
    "The state of the payment.",
    (
        Field("status", Choice(tuple(PAYMENT))),
        _own("method", Text()),
        _own("reference", Text(), "The id of the payment at the payment provider."),
        Field("capturedAmount", Amount()),
        Field("refundedAmount", Amount()),
        _own("action", ACTION),
        _own("failure", FAILURE),
    ),
)
SHORTAGE = Record(
    "Shortage",
    "A product with too little stock for the order.",
    (Field("productId", Text(ID_LENGTH)), Field("requested", Whole(1)), Field("available", Whole(0))),
)
STOCK_STATE = Record(
    "Stock",
    "The state of the order's stock.",
    (Field("status", Choice(tuple(STOCK))), _own("shortages", Many(SHORTAGE))),
)
ADDRESS = Record(
    "Address",
    "The delivery address of an order.",
    (
        _may("name", Text(200)),
        _may("line1", Text(200)),
        _may("line2", Text(200)),
        _may("city", Text(100)),
        _may("region", Text(100)),
        _may("postalCode", Text(20)),
        _may("country", Text(2, COUNTRY)),
    ),
)
TRACKING = Record(
    "Tracking",
    "The data for tracking the parcel.",
    (
        _may("carrier", Text(100)),
        _may("number", Text(100)),
        _may("url", Text(2000, WEB_ADDRESS)),
    ),
)
CANCELLATION = Record(
    "Cancellation",
    "The reason for the cancellation.",
    (Field("reason", Choice(CANCELLATION_REASONS)), _own("detail", Text())),
)
REFUND_STATE = Record(
    "StoredRefund",
    "A refund of the order.",
    (
        Field("id", Text()),
        Field("status", Choice(tuple(REFUND))),
        Field("amount", Amount()),
        Field("attempt", Whole(1)),
        Field("createdAt", Moment()),
        Field("updatedAt", Moment()),
        _own("reason", Text()),
        _own(
            "products",
            Many(
                Record(
                    "StoredRefundLine",
                    "A product of the order that the refund is for.",
                    (
                        Field("productId", Text(ID_LENGTH)),
                        Field("quantity", Whole(1)),
                        Field("restock", Flag()),
                    ),
                ),
                least=1,
            ),
        ),
        _own("failure", FAILURE),
        _own("restocked", Flag()),
    ),
)

ORDER: tuple[Field, ...] = (
    Field("id", Text(24, ORDER_ID)),
    Field("userId", Text(ID_LENGTH), given="required"),
    _may("reference", Text(64), "The client's own order number."),
    Field("products", Many(LINE, 1, MOST_LINES, numbered="line"), given="required"),
    Field("adjustments", Many(ADJUSTMENT, 0, MOST_ADJUSTMENTS), given="optional", always=False),
    Field("totalAmount", Amount(), given="required"),
    Field(
        "currency",
        Choice(tuple(sorted(DECIMALS)), "an ISO 4217 currency code such as USD", "^[A-Z]{3}$"),
        given="optional",
    ),
    # It becomes the payment's `method`.
    Field("paymentMethod", Text(255), given="optional", always=False, stored=False, shown=False),
    Field("status", Choice(tuple(STATUS)), changes=True),
    Field("payment", PAYMENT_STATE, changes=True),
    Field("stock", STOCK_STATE, changes=True),
    Field("email", Text(254, EMAIL), given="optional", always=False, personal=True),
    Field("shippingAddress", ADDRESS, given="optional", always=False, personal=True),
    Field("metadata", Pairs(), given="optional", always=False, personal=True),
    Field("tracking", TRACKING, always=False, changes=True),
    Field("cancellation", CANCELLATION, always=False, changes=True),
    Field("version", Whole(1), changes=True),
    Field("createdAt", Moment()),
    Field("updatedAt", Moment(), changes=True),
    Field("publicVersion", Whole(1), changes=True, shown=False),
    Field("refunds", Many(REFUND_STATE), always=False, changes=True, shown=False),
    Field("deletedAt", Moment(), always=False, changes=True, shown=False),
)

PERSONAL = names(ORDER, personal=True)
# The fields in the data of `order.created`.
STATED = tuple(field.name for field in ORDER if field.given and not field.personal)
# The fields that an event can change.
MUTABLE = names(ORDER, changes=True)
# The stored fields that are not personal data.
STATE = names(ORDER, personal=False, stored=True)


def _amounts(fields: tuple[Field, ...]) -> frozenset[str]:
    """The names of all amounts in these fields, at any depth."""
    found: set[str] = set()
    for field in fields:
        kind = field.kind.of if isinstance(field.kind, Many) else field.kind
        if isinstance(kind, Amount):
            found.add(field.name)
        elif isinstance(kind, Record):
            found |= _amounts(kind.fields)
    return frozenset(found)


# The names of all amount fields in orders, refunds and events.
AMOUNTS = _amounts(ORDER)


def with_amounts(value: Any, show: Callable[[int], Any]) -> Any:
    """The value, with `show` applied to every amount in it at any depth.

    A field that is no number is not an amount, whatever its name.
    """
    match value:
        case dict():
            return {
                name: show(inner) if name in AMOUNTS and _is_number(inner) else with_amounts(inner, show)
                for name, inner in value.items()
            }
        case list():
            return [with_amounts(item, show) for item in value]
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
