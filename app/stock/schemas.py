"""The requests and answers about stock."""
# ruff: noqa: N815 - the names are those of the API

from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from app.errors import NotFound
from app.http.fields import Text, Whole
from app.http.fields import text as text_of
from app.http.schemas import ORDER_ID, Answer, Input, listed, moment, nested, next_cursor, text, whole
from app.orders.values import ID_LENGTH
from app.stock.model import KINDS, MOST_ON_HAND


class LevelIn(Input):
    """The level to set."""

    onHand = Whole(0, MOST_ON_HAND, required=True, doc="The number of pieces in stock.")


class AdjustmentIn(Input):
    """A change of the level; a negative quantity lowers it."""

    quantity = Whole(
        -MOST_ON_HAND, MOST_ON_HAND, required=True, doc="The number of pieces to add, or to take if negative."
    )
    reason = Text(200, required=True, doc="Why the level changes.")

    @validates_schema
    def check_quantity(self, data: dict[str, Any], **_: Any) -> None:
        """The quantity is not 0."""
        if data["quantity"] == 0:
            raise ValidationError({"quantity": ["must not be 0"]})


class Level(Answer):
    """The stock level of a product."""

    productId = text("The id of the product.")
    onHand = whole("The number of pieces in stock.", minimum=0)
    held = whole("The pieces that orders not yet confirmed have taken off `onHand`.", minimum=0)
    version = whole("The number of changes of the level.", minimum=0)
    updatedAt = moment("The time of the last change.")


class Levels(Answer):
    """A page of stock levels."""

    levels = listed(fields.Nested(Level), "The levels of the page, by product id.")
    nextCursor = next_cursor()


class Movement(Answer):
    """A movement in the ledger of a product."""

    id = text("The id of the movement.", pattern=ORDER_ID)
    quantity = whole("The number of pieces; negative if stock was taken.")
    kind = text(
        "What moved the stock: an order, an order's end or refund, or an adjustment.",
        enum=list(KINDS),
    )
    orderId = text("The id of the order; absent for an adjustment.", required=False, pattern=ORDER_ID)
    line = whole("The line of a part cancellation or of a return.", required=False, minimum=1)
    cancellationId = text("The id of the part cancellation that brought the pieces back.", required=False)
    returnId = text("The id of the return that brought the pieces back.", required=False)
    receipt = whole("The number of the receipt within the return.", required=False, minimum=1)
    reason = text("The reason of an adjustment.", required=False)
    at = moment("The time of the movement.")


class Movements(Answer):
    """A page of a product's ledger, newest first."""

    movements = listed(fields.Nested(Movement), "The movements of the page, newest first.")
    nextCursor = next_cursor()


class Adjustment(Level):
    """The level after an adjustment, and its movement."""

    movement = nested(Movement, "The movement of the adjustment.")


def require_product_id(given: str) -> str:
    """The product id from a path. Raises NotFound if it is not a valid id."""
    try:
        return text_of(given, 1, ID_LENGTH)
    except ValidationError as error:
        raise NotFound("The product does not exist.") from error
