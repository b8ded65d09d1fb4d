"""The requests and answers about shipments."""

from typing import Any

from marshmallow import fields

from app.http import examples
from app.http.fields import ListOf, ObjectOf
from app.http.schemas import Answer, Input, listed
from app.http.shaping import answer_schema, input_schema, patch_fields
from app.orders.goods_fields import PIECES, SHIPMENT, TRACKING
from app.orders.values import MOST_LINES
from app.shapes import Field, Record, Text

MERGE_PATCH = "application/merge-patch+json"

NEW_SHIPMENT: dict[str, Any] = {
    "products": [{"line": 1, "quantity": 1}],
    "tracking": {"carrier": "DHL", "number": "00340434161094000000"},
}
SHIPMENT_EXAMPLE: dict[str, Any] = {
    "id": f"{examples.ORDER['id']}-s1",
    "orderId": examples.ORDER["id"],
    "status": "shipped",
    **NEW_SHIPMENT,
    "createdAt": "2024-10-05T10:00:00.000Z",
    "updatedAt": "2024-10-05T10:00:00.000Z",
}
CORRECTION: dict[str, Any] = {"tracking": {"number": "00340434161094000001", "url": None}}


class ShipmentIn(Input):
    """A new shipment. Without `products`, it has all open pieces. So the body may be empty."""

    may_be_empty = True

    products = ListOf(ObjectOf(input_schema(PIECES)), 1, MOST_LINES, doc="The pieces in the parcel.")
    tracking = ObjectOf(input_schema(TRACKING), doc="The data for tracking the parcel.")


_TRACKING = Field("tracking", TRACKING, "The data for tracking the parcel.", amendable=True)


class ShipmentPatch(Input.from_dict(patch_fields((_TRACKING,)))):  # type: ignore[misc]
    """A merge patch (RFC 7396) of a shipment. `null` removes a field."""

    media_type = MERGE_PATCH


class NoBodyIn(Input):
    """A command without fields. The body may be empty."""

    may_be_empty = True


ShipmentOut = answer_schema(
    Record(
        "Shipment",
        "A shipment of pieces of an order.",
        (*SHIPMENT.fields, Field("orderId", Text(), "The id of the order.")),
    )
)


class ShipmentsOut(Answer):
    """All shipments of an order, oldest first."""

    shipments = listed(fields.Nested(ShipmentOut), "The shipments, oldest first.")
