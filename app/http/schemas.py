"""The schemas that every capability shares: what requests and answers are, pages, problems, health."""
# ruff: noqa: N815 - the names are those of the API

from marshmallow import EXCLUDE, Schema, fields

from app.http.fields import Whole
from app.http.pointers import UNKNOWN
from app.http.problems import MOST_FAULTS, PROBLEMS, TYPE

ORDER_ID = "^[0-9a-f]{24}$"


class Input(Schema):
    """An object in which every field is known."""

    error_messages = {"type": "must be an object", "unknown": UNKNOWN}  # noqa: RUF012 - marshmallow's own


class PageQuery(Input):
    """Which page of a listing."""

    limit = Whole(1, 100, spelled=True, load_default=25)
    # Whatever is wrong with it makes it a bad cursor, which `paging` reports.
    cursor = fields.String(error_messages={"invalid": "must be given only once"})


class Answer(Schema):
    """An object that may gain fields in time; clients should not mind."""

    class Meta:
        """Leaves `additionalProperties` open."""

        unknown = EXCLUDE


def text(**facts: object) -> fields.String:
    """A text that every answer has."""
    return fields.String(required=True, metadata=facts)


def optional(**facts: object) -> fields.String:
    """A text that some answers have."""
    return fields.String(metadata=facts)


def moment() -> fields.DateTime:
    """A time that every answer has."""
    return fields.DateTime(required=True, metadata={"examples": ["2024-10-04T10:00:00.000Z"]})


def count(**facts: object) -> fields.Integer:
    """A whole number that every answer has."""
    return fields.Integer(required=True, metadata=facts)


class Health(Answer):
    """The process lives."""

    status = text(enum=["ok"])


class Readiness(Answer):
    """The service can take orders; each part's state is `ok` or what is wrong with it."""

    status = text(enum=["ready"])
    checks = fields.Dict(required=True, metadata={"additionalProperties": {"type": "string"}})


class Fault(Answer):
    """One thing wrong with the input."""

    pointer = text(description="A JSON pointer (RFC 6901) into the body, or `/` and the parameter's name.")
    detail = text()


class Problem(Answer):
    """What went wrong (RFC 9457)."""

    type = text(examples=[f"{TYPE}not_found"], format="uri-reference")
    title = text()
    status = count(minimum=400, maximum=599)
    detail = text()
    instance = optional(
        format="uri-reference", description="The path; missing only where it could not be read."
    )
    code = text(enum=list(PROBLEMS))
    requestId = text()
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
