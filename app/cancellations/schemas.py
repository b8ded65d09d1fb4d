"""The requests and answers about part cancellations."""

from typing import Any

from marshmallow import fields

from app.http import examples
from app.http.fields import Amount, ListOf, ObjectOf, Text
from app.http.schemas import Answer, Input, listed
from app.http.shaping import answer_schema, input_schema
from app.orders.goods_fields import LONGEST_REASON, PART_CANCELLATION, PIECES
from app.orders.values import MOST_LINES
from app.shapes import Field, Record
from app.shapes import Text as TextKind

NEW_CANCELLATION: dict[str, Any] = {
    "products": [{"line": 1, "quantity": 1}],
    "reason": "The customer needs only one.",
}
CANCELLATION_EXAMPLE: dict[str, Any] = {
    "id": f"{examples.ORDER['id']}-c1",
    "orderId": examples.ORDER["id"],
    "currency": examples.ORDER["currency"],
    **NEW_CANCELLATION,
    "amount": 95.00,
    "refundId": f"{examples.ORDER['id']}-1",
    "createdAt": "2024-10-05T10:00:00.000Z",
}


class CancellationIn(Input):
    """Pieces to cancel. `amount` is required if one of their lines has no `unitPrice`, and not allowed
    otherwise."""

    products = ListOf(
        ObjectOf(input_schema(PIECES)), 1, MOST_LINES, required=True, doc="The pieces to cancel."
    )
    reason = Text(LONGEST_REASON, lines=True, doc="Why the pieces are cancelled. The customer sees it.")
    amount = Amount(doc="What the order costs less, exact, in major units, for lines without a `unitPrice`.")


CancellationOut = answer_schema(
    Record(
        "PartCancellation",
        "A cancellation of pieces of an order.",
        (
            *PART_CANCELLATION.fields,
            Field("orderId", TextKind(), "The id of the order."),
            Field("currency", TextKind(), "The currency of the order."),
        ),
    )
)


class CancellationsOut(Answer):
    """All part cancellations of an order, oldest first."""

    cancellations = listed(fields.Nested(CancellationOut), "The part cancellations, oldest first.")
