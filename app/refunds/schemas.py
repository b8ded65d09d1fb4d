"""The requests and answers about refunds."""
# ruff: noqa: N815 - the names are those of the API

from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields

from app.http.fields import Amount, Flag, ListOf, ObjectOf, Text, Whole
from app.http.schemas import Answer, Input
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
        self.metadata = {"exclusiveMinimum": 0, "maximum": self.metadata["maximum"]}

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Decimal:
        amount = super()._deserialize(value, *args, **options)
        if not amount:
            raise ValidationError("must be above 0")
        return amount


class RefundLineIn(Input):
    """Products that the refund is for. `restock` puts them back into the stock."""

    productId = Text(ID_LENGTH, required=True)
    quantity = Whole(1, MOST_OF_A_LINE, required=True)
    restock = Flag(load_default=False)


class RefundIn(Input):
    """A new refund. Without `amount`, the price of its `products`; without `products` too, all that is left.

    So the body may be empty.
    """

    may_be_empty = True

    amount = AmountAboveZero()
    reason = Text(500, lines=True)
    products = ListOf(ObjectOf(RefundLineIn), 1, MOST_LINES)


class RefundLine(Answer):
    """Products that the refund is for."""

    productId = fields.String(required=True)
    quantity = fields.Integer(required=True, metadata={"minimum": 1})
    restock = fields.Boolean(required=True)


class RefundOut(Answer):
    """A refund. A failed refund can be retried."""

    id = fields.String(required=True)
    orderId = fields.String(required=True)
    amount = fields.Decimal(required=True, metadata={"minimum": 0, "description": "Exact, in major units."})
    currency = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": list(REFUND)})
    reason = fields.String()
    products = fields.List(fields.Nested(RefundLine))
    failure = fields.Nested(answer_schema(FAILURE))
    restocked = fields.Boolean(metadata={"description": "Present once the products are back in the stock."})
    attempt = fields.Integer(required=True, metadata={"minimum": 1})
    createdAt = fields.DateTime(required=True)
    updatedAt = fields.DateTime(required=True)


class RefundsOut(Answer):
    """All refunds of an order, oldest first."""

    refunds = fields.List(fields.Nested(RefundOut), required=True)
