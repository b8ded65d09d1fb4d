"""The requests and answers about stock."""
# ruff: noqa: N815 - the names are those of the API

from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from app.errors import NotFound
from app.http.fields import Text, Whole
from app.http.fields import text as text_of
from app.http.schemas import ORDER_ID, Answer, Input, count, moment, optional, text
from app.orders.fields import ID_LENGTH

MOST_ON_HAND = 1_000_000_000


class LevelIn(Input):
    """The level to set."""

    onHand = Whole(0, MOST_ON_HAND, required=True)


class AdjustmentIn(Input):
    """A change of the level; a negative quantity lowers it."""

    quantity = Whole(-MOST_ON_HAND, MOST_ON_HAND, required=True)
    reason = Text(200, required=True)

    @validates_schema
    def check_quantity(self, data: dict[str, Any], **_: Any) -> None:
        """The quantity is not 0."""
        if data["quantity"] == 0:
            raise ValidationError({"quantity": ["must not be 0"]})


class Level(Answer):
    """The stock level of a product."""

    productId = text()
    onHand = count(minimum=0)
    version = count(minimum=0)
    updatedAt = moment()


class Levels(Answer):
    """A page of stock levels."""

    levels = fields.List(fields.Nested(Level), required=True)
    nextCursor = optional(description="Absent on the last page.")


class Movement(Answer):
    """A movement in the ledger of a product."""

    id = text(pattern=ORDER_ID)
    quantity = fields.Integer(required=True, metadata={"description": "Negative if stock was taken."})
    kind = text(enum=["decrement", "restock", "adjustment"])
    orderId = optional(pattern=ORDER_ID)
    reason = optional()
    at = moment()


class Movements(Answer):
    """A page of a product's ledger, newest first."""

    movements = fields.List(fields.Nested(Movement), required=True)
    nextCursor = optional(description="Absent on the last page.")


class Adjustment(Level):
    """The level after an adjustment, and its movement."""

    movement = fields.Nested(Movement, required=True)


def require_product_id(given: str) -> str:
    """The product id from a path. Raises NotFound if it is not a valid id."""
    try:
        return text_of(given, 1, ID_LENGTH)
    except ValidationError as error:
        raise NotFound("The product does not exist.") from error
