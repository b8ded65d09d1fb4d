"""The fields of an order, each defined once.

From this table follow the schemas of requests and answers, the database's validator, what compare-and-set
writes, what the audit compares, what clients see, and what the command line prints.
"""

from collections.abc import Callable
from typing import Any

from app.money import DECIMALS
from app.orders.states import CANCELLATION_REASONS, PAYMENT, REFUND, STATUS, STOCK
from app.shapes import Amount, Choice, Field, Flag, Many, Moment, Pairs, Record, Text, Whole, names

ID_LENGTH = 128
MOST_LINES, MOST_OF_A_LINE = 200, 1_000_000

# Spaces and control characters, written so that Python and ECMAScript agree on what they are.
_GAPS = r"\s\u0000-\u001f\u007f\u0085\ufeff"
EMAIL = (rf"^[^@{_GAPS}]{{1,64}}@[^@.{_GAPS}]+(\.[^@.{_GAPS}]+)+$", "must be an email address")
COUNTRY = (r"^[A-Z]{2}$", "must be a country code of ISO 3166-1 such as DE")
WEB_ADDRESS = (
    rf"^https?://[^/?#@\[\]\\{_GAPS}]+([/?#][^{_GAPS}]*)?$",
    "must be a URL that begins with https:// or http://, without user or password",
)
ORDER_ID = (r"^[0-9a-f]{24}$", "must be an order's id")


def _may(name: str, kind: Text, doc: str = "") -> Field:
    """A field that clients may send and that is absent where they did not."""
    return Field(name, kind, doc, given="optional", always=False)


def _own(name: str, kind: Text | Record | Many | Moment | Flag, doc: str = "") -> Field:
    """A field of the service's own that is not always there."""
    return Field(name, kind, doc, always=False)


LINE = Record(
    "Line",
    "A line of an order.",
    (
        Field("productId", Text(ID_LENGTH), given="required"),
        Field("quantity", Whole(1, MOST_OF_A_LINE), given="required"),
        Field("unitPrice", Amount(), given="optional", always=False),
    ),
    sent="LineIn",
)
FAILURE = Record("Failure", "Why it was declined.", (Field("code", Text()), Field("message", Text())))
ACTION = Record(
    "Action",
    "What the customer has to do before the payment goes on.",
    (
        Field("type", Text(), "The provider's."),
        Field("clientSecret", Text(), "What the provider's library needs in the customer's browser."),
    ),
)
PAYMENT_STATE = Record(
    "Payment",
    "How the payment stands.",
    (
        Field("status", Choice(tuple(PAYMENT))),
        _own("method", Text()),
        _own("reference", Text(), "The provider's."),
        Field("capturedAmount", Amount()),
        Field("refundedAmount", Amount()),
        _own("action", ACTION),
        _own("failure", FAILURE),
    ),
)
SHORTAGE = Record(
    "Shortage",
    "A product that was short.",
    (Field("productId", Text(ID_LENGTH)), Field("requested", Whole(1)), Field("available", Whole(0))),
)
STOCK_STATE = Record(
    "Stock",
    "How the stock of the order stands.",
    (Field("status", Choice(tuple(STOCK))), _own("shortages", Many(SHORTAGE))),
)
ADDRESS = Record(
    "Address",
    "Where an order goes.",
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
    "How to follow the parcel.",
    (
        _may("carrier", Text(100)),
        _may("number", Text(100)),
        _may("url", Text(2000, WEB_ADDRESS)),
    ),
)
CANCELLATION = Record(
    "Cancellation",
    "Why the order ended.",
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
                    "What of the goods the refund is for.",
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
    Field("products", Many(LINE, 1, MOST_LINES), given="required"),
    Field("totalAmount", Amount(), given="required"),
    Field(
        "currency",
        Choice(tuple(sorted(DECIMALS)), "a currency of ISO 4217 such as USD", "^[A-Z]{3}$"),
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
# What `order.created` carries.
STATED = tuple(field.name for field in ORDER if field.given and not field.personal)
# What an event can change.
MUTABLE = names(ORDER, changes=True)
# What an order is made of beside its personal data.
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


# The names of all amounts, in orders, refunds and events.
AMOUNTS = _amounts(ORDER)


def with_amounts(value: Any, show: Callable[[int], Any]) -> Any:
    """The value with `show` applied to every amount in it, however deep."""
    match value:
        case dict():
            return {
                name: show(inner) if name in AMOUNTS else with_amounts(inner, show)
                for name, inner in value.items()
            }
        case list():
            return [with_amounts(item, show) for item in value]
    return value
