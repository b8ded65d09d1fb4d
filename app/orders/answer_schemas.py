"""What answers hold, for the API's description; `representation` makes them, and a test holds it to this."""
# ruff: noqa: N815 - the names are those of the API

from marshmallow import EXCLUDE, Schema, fields

from app.http.problems import MOST_FAULTS, PROBLEMS, TYPE
from app.orders.model import CANCELLATION_REASONS, MOVES, PAYMENT, STATUS, STOCK
from app.orders.schemas import Address, Tracking

_ORDER_ID = "^[0-9a-f]{24}$"


def _text(**facts: object) -> fields.String:
    return fields.String(required=True, metadata=facts)


def _optional(**facts: object) -> fields.String:
    return fields.String(metadata=facts)


def _amount() -> fields.Decimal:
    return fields.Decimal(required=True, metadata={"minimum": 0, "description": "In major units, exact."})


def _moment() -> fields.DateTime:
    return fields.DateTime(required=True, metadata={"examples": ["2024-10-04T10:00:00.000Z"]})


def _count(**facts: object) -> fields.Integer:
    return fields.Integer(required=True, metadata=facts)


class Answer(Schema):
    """An object that may gain fields in time; whoever reads it should not mind."""

    class Meta:
        """Leaves `additionalProperties` open."""

        unknown = EXCLUDE


class Line(Answer):
    """A line of an order."""

    productId = _text()
    quantity = _count(minimum=1)
    unitPrice = fields.Decimal(metadata={"minimum": 0})


class Failure(Answer):
    """Why a payment was declined."""

    code = _text()
    message = _text()


class Action(Answer):
    """What the customer has to do, at his bank, before the payment goes on."""

    type = _text(description="The provider's.")
    clientSecret = _text(description="What the provider's library needs in the customer's browser.")


class Payment(Answer):
    """How the payment stands."""

    status = _text(enum=list(PAYMENT))
    method = _optional()
    reference = _optional(description="The provider's.")
    capturedAmount = _amount()
    refundedAmount = _amount()
    action = fields.Nested(Action)
    failure = fields.Nested(Failure)


class Shortage(Answer):
    """A product that was short."""

    productId = _text()
    requested = _count(minimum=1)
    available = _count(minimum=0)


class Stock(Answer):
    """How the stock of the order stands."""

    status = _text(enum=list(STOCK))
    shortages = fields.List(fields.Nested(Shortage))


class Cancellation(Answer):
    """Why the order ended."""

    reason = _text(enum=list(CANCELLATION_REASONS))
    detail = _optional()


class Order(Answer):
    """An order."""

    id = _text(pattern=_ORDER_ID)
    userId = _text()
    reference = _optional(description="The client's own order number.")
    products = fields.List(fields.Nested(Line), required=True)
    totalAmount = _amount()
    currency = _text(pattern="^[A-Z]{3}$")
    status = _text(enum=list(STATUS))
    payment = fields.Nested(Payment, required=True)
    stock = fields.Nested(Stock, required=True)
    email = _optional()
    shippingAddress = fields.Nested(Address)
    metadata = fields.Dict(metadata={"additionalProperties": {"type": "string"}})
    tracking = fields.Nested(Tracking)
    cancellation = fields.Nested(Cancellation)
    version = _count(minimum=1)
    createdAt = _moment()
    updatedAt = _moment()


class OrderAnswer(Answer):
    """An order, and what happened to it."""

    message = _text()
    order = fields.Nested(Order, required=True)


class Orders(Answer):
    """A page of orders."""

    orders = fields.List(fields.Nested(Order), required=True)
    unreadable = fields.List(
        _text(pattern=_ORDER_ID),
        metadata={
            "description": "Orders of this page that cannot be shown, by id. The fault is the service's own."
        },
    )
    nextCursor = _optional(description="Only while there is more.")


class Event(Answer):
    """An entry of an order's log."""

    sequence = _count(minimum=1)
    type = _text(enum=list(MOVES))
    at = _moment()
    actor = _text()
    data = fields.Dict(required=True)
    hash = _text(
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 over the hash before and this event; docs/events.md has the exact rule.",
    )


class Events(Answer):
    """Every change that the order went through."""

    events = fields.List(fields.Nested(Event), required=True)


class Verification(Answer):
    """Whether the log is as it was written."""

    intact = fields.Boolean(required=True)
    firstBadSequence = fields.Integer(metadata={"minimum": 1, "description": "Only where it is not intact."})


class Level(Answer):
    """The stock level of a product."""

    productId = _text()
    onHand = _count(minimum=0)
    version = _count(minimum=0)
    updatedAt = _moment()


class Levels(Answer):
    """A page of stock levels."""

    levels = fields.List(fields.Nested(Level), required=True)
    nextCursor = _optional(description="Only while there is more.")


class Movement(Answer):
    """A row of a product's ledger."""

    id = _text(pattern=_ORDER_ID)
    quantity = fields.Integer(required=True, metadata={"description": "Signed."})
    kind = _text(enum=["decrement", "restock", "adjustment"])
    orderId = _optional(pattern=_ORDER_ID)
    reason = _optional()
    at = _moment()


class Movements(Answer):
    """A page of a product's ledger, newest first."""

    movements = fields.List(fields.Nested(Movement), required=True)
    nextCursor = _optional(description="Only while there is more.")


class Adjustment(Level):
    """The level after a movement, and the movement."""

    movement = fields.Nested(Movement, required=True)


class Health(Answer):
    """The process lives."""

    status = _text(enum=["ok"])


class Readiness(Answer):
    """The service can take orders; each part's state is `ok` or what is wrong with it."""

    status = _text(enum=["ready"])
    checks = fields.Dict(required=True, metadata={"additionalProperties": {"type": "string"}})


class Fault(Answer):
    """One thing wrong with the input."""

    pointer = _text(description="A JSON pointer (RFC 6901) into the body, or `/` and the parameter's name.")
    detail = _text()


class Problem(Answer):
    """What went wrong (RFC 9457)."""

    type = _text(examples=[f"{TYPE}not_found"], format="uri-reference")
    title = _text()
    status = _count(minimum=400, maximum=599)
    detail = _text()
    instance = _optional(
        format="uri-reference", description="The path; missing only where it could not be read."
    )
    code = _text(enum=list(PROBLEMS))
    requestId = _text()
    errors = fields.List(fields.Nested(Fault), metadata={"maxItems": MOST_FAULTS})
    omittedErrors = fields.Integer(
        metadata={"minimum": 1, "description": "How many more faults there are than `errors` names."}
    )
    allowed = fields.List(fields.String(), metadata={"description": "With `illegal_transition`."})
    onHand = fields.Integer(metadata={"description": "With `insufficient_stock`."})
    refundable = fields.Decimal(metadata={"minimum": 0, "description": "With `refund_too_large`."})
    checks = fields.Dict(
        metadata={"description": "With `not_ready`.", "additionalProperties": {"type": "string"}}
    )
