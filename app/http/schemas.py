"""The schemas that all capabilities share: requests, answers, pages, problems and health."""
# ruff: noqa: N815 - the names are those of the API

from marshmallow import EXCLUDE, Schema, fields

from app.http.fields import Whole
from app.http.pointers import UNKNOWN
from app.http.problems import MOST_FAULTS, PROBLEMS, TYPE

ORDER_ID = "^[0-9a-f]{24}$"


class Input(Schema):
    """An object that may have only the fields of its schema."""

    error_messages = {"type": "must be an object", "unknown": UNKNOWN}  # noqa: RUF012 - marshmallow's own


class PageQuery(Input):
    """The parameters of a page of a listing."""

    limit = Whole(1, 100, spelled=True, load_default=25)
    # `paging` reports every invalid value as a bad cursor.
    cursor = fields.String(error_messages={"invalid": "must be given only once"})


class Answer(Schema):
    """An object that may have more fields in later versions; clients should ignore unknown fields."""

    class Meta:
        """Leaves `additionalProperties` open."""

        unknown = EXCLUDE


def text(**facts: object) -> fields.String:
    """A string that is always present."""
    return fields.String(required=True, metadata=facts)


def optional(**facts: object) -> fields.String:
    """A string that may be absent."""
    return fields.String(metadata=facts)


def moment() -> fields.DateTime:
    """A time that is always present."""
    return fields.DateTime(required=True, metadata={"examples": ["2024-10-04T10:00:00.000Z"]})


def count(**facts: object) -> fields.Integer:
    """A whole number that is always present."""
    return fields.Integer(required=True, metadata=facts)


class Health(Answer):
    """The process is alive."""

    status = text(enum=["ok"])


class Readiness(Answer):
    """The service accepts orders. Each check is `ok` or says what is wrong."""

    status = text(enum=["ready"])
    checks = fields.Dict(required=True, metadata={"additionalProperties": {"type": "string"}})


class Fault(Answer):
    """One error in the input."""

    pointer = text(
        description="A JSON pointer (RFC 6901) into the body, or `/` and the name of a query parameter."
    )
    detail = text()


class Problem(Answer):
    """An error (RFC 9457)."""

    type = text(examples=[f"{TYPE}not_found"], format="uri-reference")
    title = text()
    status = count(minimum=400, maximum=599)
    detail = text()
    instance = optional(
        format="uri-reference", description="The path of the request; absent if it could not be read."
    )
    code = text(enum=list(PROBLEMS))
    requestId = text()
    errors = fields.List(fields.Nested(Fault), metadata={"maxItems": MOST_FAULTS})
    omittedErrors = fields.Integer(
        metadata={"minimum": 1, "description": "The number of errors that `errors` leaves out."}
    )
    allowed = fields.List(
        fields.String(),
        metadata={"description": "With `illegal_transition`: the statuses that a client may request now."},
    )
    onHand = fields.Integer(metadata={"description": "With `insufficient_stock`: the current stock level."})
    refundable = fields.Decimal(
        metadata={"minimum": 0, "description": "With `refund_too_large`: the amount that can be refunded."}
    )
    checks = fields.Dict(
        metadata={
            "description": "With `not_ready`: the state of each dependency.",
            "additionalProperties": {"type": "string"},
        }
    )
