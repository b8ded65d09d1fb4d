"""The requests and answers about refunds."""
# ruff: noqa: N815 - the names are those of the API

from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from app.http.fields import Amount, Flag, ListOf, ObjectOf, Text, Whole
from app.http.schemas import Answer, Input, listed
from app.http.shaping import answer_schema
from app.orders.fields import REFUND_STATE
from app.orders.values import ID_LENGTH, MOST_LINES, MOST_OF_A_LINE
from app.shapes import Field, Record
from app.shapes import Text as TextKind

NEW_REFUND: dict[str, Any] = {
    "products": [{"line": 1, "quantity": 1, "restock": False}],
    "shipping": True,
    "reason": "The lamp arrived broken",
}
REFUND_EXAMPLE: dict[str, Any] = {
    "id": "66ffbd20a1b2c3d4e5f60718-1",
    "orderId": "66ffbd20a1b2c3d4e5f60718",
    "amount": 99.90,
    "currency": "USD",
    "status": "pending",
    "reason": "The lamp arrived broken",
    "products": [{"line": 1, "productId": "product-id", "quantity": 1, "restock": False}],
    "shipping": True,
    "breakdown": {
        "products": 100.00,
        "shipping": 4.90,
        "tax": 0.00,
        "discount": -5.00,
        "fee": 0.00,
        "tip": 0.00,
    },
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
    """Pieces of a line that the refund is for.

    `productId` can take the place of `line` if only one line has the product.
    """

    line = Whole(1, MOST_LINES, doc="The number of the line.")
    productId = Text(ID_LENGTH, doc="The id of the product, instead of `line`.")
    quantity = Whole(1, MOST_OF_A_LINE, required=True, doc="The number of pieces.")
    restock = Flag(load_default=False, doc="Whether the pieces go back into the stock.")

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def check_line(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Checks that there is either `line` or `productId`."""
        match isinstance(original, dict) and ("line" in original, "productId" in original):
            case (False, False):
                raise ValidationError({"line": ["is required"]})
            case (True, True):
                raise ValidationError({"productId": ["must not be given together with line"]})


class RefundIn(Input):
    """A new refund. Without `amount`, it is for what its `products` and `shipping` cost.

    Without these, it is for all that is left. So the body may be empty. `shipping` returns the order-wide
    shipping.
    """

    may_be_empty = True

    amount = AmountAboveZero(doc="The amount to give back, exact, in major units.")
    reason = Text(500, lines=True, doc="Why the money is given back.")
    products = ListOf(ObjectOf(RefundLineIn), 1, MOST_LINES, doc="The lines that the refund is for.")
    shipping = Flag(doc="Whether to return the shipping of the whole order.")


RefundOut = answer_schema(
    Record(
        "RefundOut",
        "A refund. A failed refund can be retried.",
        (
            *REFUND_STATE.fields,
            Field("orderId", TextKind(), "The id of the order."),
            Field("currency", TextKind(), "The currency of the order."),
        ),
    )
)


class RefundsOut(Answer):
    """All refunds of an order, oldest first."""

    refunds = listed(fields.Nested(RefundOut), "The refunds, oldest first.")
