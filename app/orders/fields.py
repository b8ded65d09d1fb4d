"""The fields of an order, each defined once.

Several parts of the service are derived from this table: the schemas of requests and answers, the database's
validator, the fields that compare-and-set writes, the fields that the audit compares, and the public form.
"""

from collections.abc import Callable
from typing import Any

from app.money import DECIMALS
from app.orders.bounds import MOST_CANCELLATIONS, MOST_RETURNS, MOST_SHIPMENTS
from app.orders.goods_fields import FULFILLMENT, PART_CANCELLATION, RETURN, SHIPMENT, TRACKING
from app.orders.holds import BLOCKS, MOST_HOLDS, THEN
from app.orders.shares import KINDS
from app.orders.shortages import ON_SHORTAGE
from app.orders.states import CANCELLATION_REASONS, PAYMENT, REFUND, STATUS, STOCK
from app.orders.values import (
    COUNTRY,
    EMAIL,
    HOLD_CODE,
    ID_LENGTH,
    MOST_LINES,
    MOST_OF_A_LINE,
    NUMBER,
    ORDER_ID,
    TAG,
)
from app.shapes import Amount, Choice, Field, Flag, Kind, Many, Moment, Pairs, Record, Text, Whole, names

MOST_ADJUSTMENTS = 100
MOST_TAGS, MOST_NOTES, LONGEST_NOTE = 20, 200, 2_000
VISIBILITIES = ("internal", "customer")


def _may(name: str, kind: Kind, doc: str, **facts: Any) -> Field:
    """An optional field that clients may send. It is absent if they do not."""
    return Field(name, kind, doc, given="optional", always=False, **facts)


def _own(name: str, kind: Kind, doc: str, **facts: Any) -> Field:
    """A field that the service sets, and that is not always present."""
    return Field(name, kind, doc, always=False, **facts)


# Fields that stand beside the log, and that a PATCH can change.
_PERSONAL: dict[str, Any] = {"personal": True, "amendable": True}

LINE = Record(
    "Line",
    "A line of an order.",
    (
        Field("line", Whole(1), "The number of the line. Lines are numbered from 1.", stored=False),
        Field("productId", Text(ID_LENGTH), "The id of the product.", given="required"),
        Field("quantity", Whole(1, MOST_OF_A_LINE), "The number of pieces.", given="required"),
        _may("unitPrice", Amount(), "The price of one piece, exact, in major units."),
    ),
    sent="LineIn",
)
ADJUSTMENT = Record(
    "OrderAdjustment",
    "A part of the total beside the lines: shipping, a tax, a discount, a fee or a tip.",
    (
        Field("kind", Choice(KINDS), "The kind of the adjustment.", given="required"),
        _may("name", Text(100), "A name that the customer understands. The mails show it."),
        Field(
            "amount",
            Amount(signed=True),
            "The amount, exact, in major units: 0 or less for a `discount`, else 0 or more.",
            given="required",
        ),
        _may("line", Whole(1, MOST_LINES), "The line that it is for. Without it, it is for the whole order."),
        _may("included", Flag(), "Only for a `tax`. The prices include it, so the total does not add it."),
    ),
)
FAILURE = Record(
    "Failure",
    "The reason for a refusal by the payment provider.",
    (
        Field("code", Text(), "The reason as a code, such as `card_declined`."),
        Field("message", Text(), "The reason as a sentence."),
    ),
)
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
        Field("status", Choice(tuple(PAYMENT)), "The status of the payment."),
        _own("method", Text(), "The `paymentMethod` of the request."),
        _own("reference", Text(), "The id of the payment at the payment provider."),
        Field("capturedAmount", Amount(), "The amount taken so far, exact, in major units."),
        Field("refundedAmount", Amount(), "The amount given back so far, exact, in major units."),
        _own("action", ACTION, "The action that the payment waits for."),
        _own("failure", FAILURE, "The reason why the payment was declined or its authorization was lost."),
    ),
)
SHORTAGE = Record(
    "Shortage",
    "A product with too little stock for the order.",
    (
        Field("productId", Text(ID_LENGTH), "The id of the product."),
        Field("requested", Whole(1), "The quantity that the order needs."),
        Field("available", Whole(0), "The quantity that was in stock."),
    ),
)
STOCK_STATE = Record(
    "Stock",
    "The state of the order's stock.",
    (
        Field("status", Choice(tuple(STOCK)), "Whether the goods are taken out of the stock."),
        _own("shortages", Many(SHORTAGE), "The products that are or were short."),
        _own("heldUntil", Moment(), "The time until which a pending order holds the stock that it took."),
    ),
)
ADDRESS = Record(
    "Address",
    "A delivery address.",
    (
        _may("name", Text(200), "The name of the recipient."),
        _may("line1", Text(200), "The first line of the address, such as street and number."),
        _may("line2", Text(200), "The second line of the address."),
        _may("city", Text(100), "The city."),
        _may("region", Text(100), "The state, province or region."),
        _may("postalCode", Text(20), "The postal code."),
        _may("country", Text(2, COUNTRY), "The country as an ISO 3166-1 code, such as `DE`."),
    ),
)
CANCELLATION = Record(
    "Cancellation",
    "The reason for the cancellation.",
    (
        Field("reason", Choice(CANCELLATION_REASONS), "The reason as a code."),
        _own("detail", Text(), "The `reason` of the request that cancelled the order."),
    ),
)
BREAKDOWN = Record(
    "RefundBreakdown",
    "The amount of a refund by kind. Its parts add up to the amount.",
    (
        Field("products", Amount(signed=True), "The price of the pieces: the amount less the other parts."),
        *(Field(kind, Amount(signed=kind == "discount"), f"The part that is {kind}.") for kind in KINDS),
    ),
)
REFUND_STATE = Record(
    "StoredRefund",
    "A refund of the order.",
    (
        Field("id", Text(), "The id of the refund."),
        Field("status", Choice(tuple(REFUND)), "The status of the refund."),
        Field("amount", Amount(), "The amount, exact, in major units."),
        Field("attempt", Whole(1), "The number of the attempt; each retry adds one."),
        Field("createdAt", Moment(), "The time of the request."),
        Field("updatedAt", Moment(), "The time of the last change."),
        _own("reason", Text(), "The reason that the request gave."),
        _own(
            "products",
            Many(
                Record(
                    "RefundLine",
                    "Pieces of a line that the refund is for.",
                    (
                        _own(
                            "line", Whole(1), "The number of the line. Refunds of earlier releases lack it."
                        ),
                        Field("productId", Text(ID_LENGTH), "The id of the product."),
                        Field("quantity", Whole(1), "The number of pieces."),
                        Field("restock", Flag(), "Whether the pieces go back into the stock."),
                    ),
                ),
                least=1,
            ),
            "The lines that the refund is for.",
        ),
        _own("shipping", Flag(), "Present if the refund returns the shipping of the whole order."),
        # A retry computes such an amount anew.
        _own("computed", Flag(), "Present if the service computed the amount.", shown=False),
        _own("cancellationId", Text(), "The id of the part cancellation whose money it returns."),
        _own("returnId", Text(), "The id of the return whose money it returns."),
        _own("breakdown", BREAKDOWN, "The amount by kind, if the refund is by lines.", stored=False),
        _own("failure", FAILURE, "The reason why the refund failed."),
        _own("restocked", Flag(), "Present once the products are back in the stock."),
    ),
)
HOLD = Record(
    "Hold",
    "A hold, which blocks steps of an order until it is released or its time is over.",
    (
        Field(
            "code", Text(40, HOLD_CODE), "The code of the hold, unique within the order.", given="required"
        ),
        _may("reason", Text(500, lines=True), "Why the order is held, for the shop alone.", internal=True),
        Field(
            "blocks",
            Many(Choice(BLOCKS), 1, len(BLOCKS)),
            "The steps that the hold blocks: `capture`, `ship` or both. The default is both.",
            given="optional",
        ),
        _may("until", Moment(), "The time at which the hold ends by itself."),
        Field(
            "then",
            Choice(THEN),
            "What happens at `until`: `release` (default), or `cancel` to cancel the order.",
            given="optional",
        ),
        Field("createdAt", Moment(), "The time at which the hold was placed."),
    ),
    sent="HoldIn",
)
HOLDS = _may(
    "holds",
    Many(HOLD, 0, MOST_HOLDS),
    "The holds of the order, oldest first. A request with holds needs the scope `orders:admin`.",
    changes=True,
)
NOTE = Record(
    "StoredNote",
    "A note about the order, without its text. The text is stored beside the log, so that it can be erased.",
    (
        Field("id", Text(), "The id of the note."),
        Field("visibility", Choice(VISIBILITIES), "Who sees the note: only the shop, or the customer, too."),
        Field("actor", Text(), "The caller that wrote the note."),
        Field("createdAt", Moment(), "The time of the note."),
        _own("erased", Flag(), "Present once the note is erased.", shown=False),
    ),
)

ORDER: tuple[Field, ...] = (
    Field("id", Text(24, ORDER_ID), "The id of the order. Ids sort by the time of creation."),
    # Orders that the previous release stores have none until `number_orders` of `sweeping` has run.
    _own("number", Text(11, NUMBER), "The number of the order, to be read aloud. No two orders share one."),
    Field("userId", Text(ID_LENGTH), "The id of the user that the order belongs to.", given="required"),
    _may("reference", Text(64), "The client's own order number.", changes=True, amendable=True),
    Field(
        "products", Many(LINE, 1, MOST_LINES, numbered="line"), "The lines of the order.", given="required"
    ),
    _may("adjustments", Many(ADJUSTMENT, 0, MOST_ADJUSTMENTS), "The parts of the total beside the lines."),
    Field("totalAmount", Amount(), "The price of the order, exact, in major units.", given="required"),
    Field(
        "currency",
        Choice(tuple(sorted(DECIMALS)), "an ISO 4217 currency code such as USD", "^[A-Z]{3}$"),
        "The currency of all amounts as an ISO 4217 code. Requests may leave it out to use the default.",
        given="optional",
    ),
    _may(
        "onShortage",
        Choice(ON_SHORTAGE),
        "What happens if the stock is short: the order is cancelled (`cancel`, the default), its lines are "
        "cut to what is there (`partial`), or it waits for stock (`backorder`).",
    ),
    _may(
        "backorderUntil",
        Moment(),
        "The time until which the order waits for stock. Required with `backorder`, and only allowed then.",
    ),
    _own("stockFirst", Flag(), "Present if the stock is taken before the payment.", shown=False),
    # It becomes the payment's `method`.
    _may(
        "paymentMethod",
        Text(255),
        "The payment method, as the payment provider names it.",
        stored=False,
        shown=False,
    ),
    Field("status", Choice(tuple(STATUS)), "The status of the order.", changes=True),
    Field("payment", PAYMENT_STATE, "The state of the payment.", changes=True),
    Field("stock", STOCK_STATE, "The state of the order's stock.", changes=True),
    _may("email", Text(254, EMAIL), "The address that gets the mails about the order.", **_PERSONAL),
    _may("shippingAddress", ADDRESS, "The delivery address.", **_PERSONAL),
    _may("metadata", Pairs(), "The client's own names and texts. The service only stores them.", **_PERSONAL),
    _own(
        "tags",
        Many(Text(40, TAG), 0, MOST_TAGS),
        "The shop's tags, sorted. Customers do not see them.",
        changes=True,
        internal=True,
    ),
    HOLDS,
    _own("releasedAt", Moment(), "The time from which the expiry counts anew.", changes=True, shown=False),
    _own("notes", Many(NOTE, 0, MOST_NOTES), "The notes, oldest first.", changes=True, shown=False),
    Field("fulfillment", FULFILLMENT, "How far the goods are on their way.", stored=False),
    _own("tracking", TRACKING, "The data for tracking the newest shipment.", changes=True),
    _own("cancellation", CANCELLATION, "Why the order was cancelled; present if it was.", changes=True),
    Field("version", Whole(1), "The number of events of the order. Every change raises it.", changes=True),
    Field("createdAt", Moment(), "The time of creation."),
    Field("updatedAt", Moment(), "The time of the last change.", changes=True),
    Field("publicVersion", Whole(1), "The sequence of the last public event.", changes=True, shown=False),
    _own("refunds", Many(REFUND_STATE), "The refunds, oldest first.", changes=True, shown=False),
    _own(
        "shipments",
        Many(SHIPMENT, 0, MOST_SHIPMENTS),
        "The shipments, oldest first.",
        changes=True,
        shown=False,
    ),
    _own(
        "cancellations",
        Many(PART_CANCELLATION, 0, MOST_CANCELLATIONS),
        "The part cancellations, oldest first.",
        changes=True,
        shown=False,
    ),
    _own("returns", Many(RETURN, 0, MOST_RETURNS), "The returns, oldest first.", changes=True, shown=False),
    _own("deletedAt", Moment(), "The time of the deletion.", changes=True, shown=False),
)

PERSONAL = names(ORDER, personal=True)
# The fields that a PATCH can change.
AMENDABLE = names(ORDER, amendable=True)
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
