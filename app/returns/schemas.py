"""The requests and answers about returns. The fields of a return come from `orders.goods_fields`."""

from typing import Any

from marshmallow import fields

from app.http import examples
from app.http.fields import Amount, ListOf, ObjectOf, Text
from app.http.schemas import Answer, Input, listed
from app.http.shaping import answer_schema, input_fields, input_schema
from app.orders.goods_fields import LONGEST_REASON, PIECES, RECEIVED_PIECES, RETURN
from app.orders.values import MOST_LINES
from app.shapes import Field, Many, Record
from app.shapes import Text as TextKind

_AMOUNT = (
    "The amount to give back for the pieces, exact, in major units. Required if one of them has no "
    "`unitPrice`, else not allowed."
)

NEW_RETURN: dict[str, Any] = {
    "products": [{"line": 1, "quantity": 1, "reason": "It is too small"}],
    "note": "The box is open.",
}
RECEIPT: dict[str, Any] = {"products": [{"line": 1, "quantity": 1, "condition": "resellable"}]}
REJECTION: dict[str, Any] = {"reason": "The goods were made to measure"}
_AT = "2024-10-10T10:00:00.000Z"
RETURN_EXAMPLE: dict[str, Any] = {
    "id": f"{examples.ORDER['id']}-r1",
    "orderId": examples.ORDER["id"],
    "status": "requested",
    **NEW_RETURN,
    "refund": "on_receipt",
    "receipts": [],
    "createdAt": _AT,
    "updatedAt": _AT,
}
RECEIVED_EXAMPLE: dict[str, Any] = {
    **RETURN_EXAMPLE,
    "status": "closed",
    "receipts": [
        {
            "receipt": 1,
            **RECEIPT,
            "amount": 100.00,
            "refundId": f"{examples.ORDER['id']}-1",
            "at": "2024-10-14T10:00:00.000Z",
        }
    ],
    "updatedAt": "2024-10-14T10:00:00.000Z",
}


class ReturnIn(Input.from_dict(input_fields(RETURN.fields))):  # type: ignore[misc]
    """A new return. `refund` needs the scope `orders:admin`."""


class ApprovalIn(Input):
    """The approval of a return. The body may be empty."""

    may_be_empty = True

    amount = Amount(doc=_AMOUNT)


class RejectionIn(Input):
    """The rejection of a return."""

    reason = Text(LONGEST_REASON, lines=True, required=True, doc="The reason, which the customer sees.")


class ReceiptIn(Input):
    """A parcel of a return. A line can be given once for each condition."""

    products = ListOf(
        ObjectOf(input_schema(RECEIVED_PIECES)),
        1,
        2 * MOST_LINES,
        required=True,
        doc="The pieces in the parcel, also those that the return did not announce.",
    )
    amount = Amount(doc=_AMOUNT)


ReturnOut = answer_schema(
    Record(
        "Return",
        "A return of shipped pieces of an order.",
        (
            *RETURN.fields,
            Field("orderId", TextKind(), "The id of the order."),
            Field(
                "unannounced",
                Many(PIECES, 1),
                "The pieces that came without being announced, in all parcels.",
                always=False,
            ),
        ),
    )
)


class ReturnsOut(Answer):
    """All returns of an order, oldest first."""

    returns = listed(fields.Nested(ReturnOut), "The returns, oldest first.")
