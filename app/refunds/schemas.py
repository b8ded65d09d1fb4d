"""The requests and answers about refunds."""
# ruff: noqa: N815 - the names are those of the API

from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields

from app.http.fields import Amount, Flag, ListOf, ObjectOf, Text, Whole
from app.http.schemas import Answer, Input, amount, flag, listed, moment, nested, text, whole
from app.http.shaping import answer_schema
from app.orders.fields import FAILURE, ID_LENGTH, MOST_LINES, MOST_OF_A_LINE
from app.orders.states import REFUND

NEW_REFUND: dict[str, Any] = {"amount": 10.00, "reason": "The apples arrived bruised"}
REFUND_EXAMPLE: dict[str, Any] = {
    "id": "66ffbd20a1b2c3d4e5f60718-1",
    "orderId": "66ffbd20a1b2c3d4e5f60718",
    "amount": 10.00,
    "currency": "USD",
    "status": "pending",
    "reason": "The apples arrived bruised",
    "attempt": 1,
    "createdAt": "2024-10-05T10:00:00.000Z",
    "updatedAt": "2024-10-05T10:00:00.000Z",
}


class AmountAboveZero(Amount):
    """An exact amount above 0, in major units."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        bounds = dict(self.metadata)
        self.metadata = {"exclusiveMinimum": bounds.pop("minimum"), **bounds}

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Decimal:
        found = super()._deserialize(value, *args, **options)
        if not found:
            raise ValidationError("must be above 0")
        return found


class RefundLineIn(Input):
    """A product that the refund is for."""

    productId = Text(ID_LENGTH, required=True, doc="The id of the product.")
    quantity = Whole(1, MOST_OF_A_LINE, required=True, doc="The number of pieces.")
    restock = Flag(load_default=False, doc="Whether the pieces go back into the stock.")


class RefundIn(Input):
    """A new refund. Without `amount`, the price of its `products`; without `products` too, all that is left.

    So the body may be empty.
    """

    may_be_empty = True

    amount = AmountAboveZero(doc="The amount to give back, exact, in major units.")
    reason = Text(500, lines=True, doc="Why the money is given back.")
    products = ListOf(ObjectOf(RefundLineIn), 1, MOST_LINES, doc="The products that the refund is for.")


class RefundLine(Answer):
    """A product that the refund is for."""

    productId = text("The id of the product.")
    quantity = whole("The number of pieces.", minimum=1)
    restock = flag("Whether the pieces go back into the stock.")


class RefundOut(Answer):
    """A refund. A failed refund can be retried."""

    id = text("The id of the refund.")
    orderId = text("The id of the order.")
    amount = amount("The amount, exact, in major units.")
    currency = text("The currency of the order.")
    status = text("The status of the refund.", enum=list(REFUND))
    reason = text("The reason that the request gave.", required=False)
    products = listed(fields.Nested(RefundLine), "The products that the refund is for.", required=False)
    failure = nested(answer_schema(FAILURE), "Why the refund failed.", required=False)
    restocked = flag("Present once the products are back in the stock.", required=False)
    attempt = whole("The number of the attempt; each retry adds one.", minimum=1)
    createdAt = moment("The time of the request.")
    updatedAt = moment("The time of the last change.")


class RefundsOut(Answer):
    """All refunds of an order, oldest first."""

    refunds = listed(fields.Nested(RefundOut), "The refunds, oldest first.")
