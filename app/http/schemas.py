"""The schemas that all capabilities share: requests, answers, pages, problems and health."""
# ruff: noqa: N815 - the names are those of the API

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, fields

from app.clock import to_text
from app.http.fields import Whole, valid
from app.http.pointers import UNKNOWN
from app.http.problems import MOST_FAULTS, PROBLEMS, TYPE

ORDER_ID = "^[0-9a-f]{24}$"


class Input(Schema):
    """An object that may have only the fields of its schema."""

    error_messages = {"type": "must be an object", "unknown": UNKNOWN}  # noqa: RUF012 - marshmallow's own

    def _deserialize(self, data: Any, *, many: bool = False, partial: Any = None, **options: Any) -> Any:
        simple = not many and not partial and options.get("unknown", RAISE) == RAISE
        found = valid(self, data) if simple else None
        return super()._deserialize(data, many=many, partial=partial, **options) if found is None else found


class PageQuery(Input):
    """The parameters of a page of a listing."""

    limit = Whole(1, 100, spelled=True, load_default=25, doc="The maximum number of items on the page.")
    # `paging` reports every invalid value as a bad cursor.
    cursor = fields.String(
        error_messages={"invalid": "must be given only once"},
        metadata={"description": "The `nextCursor` of the previous page, with the same filters and order."},
    )


class Answer(Schema):
    """An object that may have more fields in later versions; clients should ignore unknown fields."""

    class Meta:
        """Leaves `additionalProperties` open."""

        unknown = EXCLUDE

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> dict[str, Any]:
        """The public form of a record: the fields of this schema that it has. Times become text."""
        return {name: _plain(found[name]) for name in cls._declared_fields if name in found}


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return to_text(value)
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(item) for item in value]
    return value


# The fields of answers. `doc` describes a field to clients; `facts` are keywords of JSON Schema.


def text(doc: str, *, required: bool = True, **facts: object) -> fields.String:
    """A string."""
    return fields.String(required=required, metadata={"description": doc, **facts})


def moment(doc: str, *, required: bool = True) -> fields.DateTime:
    """A time."""
    facts: dict[str, object] = {"description": doc, "examples": ["2024-10-04T10:00:00.000Z"]}
    return fields.DateTime(required=required, metadata=facts)


def whole(doc: str, *, required: bool = True, **facts: object) -> fields.Integer:
    """A whole number."""
    return fields.Integer(required=required, metadata={"description": doc, **facts})


def amount(doc: str, *, required: bool = True) -> fields.Decimal:
    """An amount of money."""
    return fields.Decimal(required=required, metadata={"description": doc, "minimum": 0})


def flag(doc: str, *, required: bool = True, **facts: object) -> fields.Boolean:
    """True or false."""
    return fields.Boolean(required=required, metadata={"description": doc, **facts})


def mapping(doc: str, *, required: bool = True, **facts: object) -> fields.Dict:
    """An object whose names are not fixed."""
    return fields.Dict(required=required, metadata={"description": doc, **facts})


def nested(schema: type[Schema], doc: str, *, required: bool = True) -> fields.Nested:
    """An object with its own schema."""
    return fields.Nested(schema, required=required, metadata={"description": doc})


def listed(item: fields.Field[Any], doc: str, *, required: bool = True, **facts: object) -> fields.List[Any]:
    """A list."""
    return fields.List(item, required=required, metadata={"description": doc, **facts})


def next_cursor() -> fields.String:
    """The field of a page that leads to the next one."""
    return text("The `cursor` of the next page; absent on the last page.", required=False)


class Health(Answer):
    """The process is alive."""

    status = text("Always `ok`.", enum=["ok"])


class Readiness(Answer):
    """The service accepts orders."""

    status = text("Always `ready`.", enum=["ready"])
    checks = mapping(
        "The state of each dependency: `ok`, or what is wrong.", additionalProperties={"type": "string"}
    )


class Fault(Answer):
    """One error in the input."""

    pointer = text("A JSON pointer (RFC 6901) into the body, or `/` and the name of a query parameter.")
    detail = text("What the value must be.")


class Problem(Answer):
    """An error (RFC 9457)."""

    type = text("A URN made from `code`.", examples=[f"{TYPE}not_found"], format="uri-reference")
    title = text("The meaning of `code` in a few words.")
    status = whole("The HTTP status.", minimum=400, maximum=599)
    detail = text("What is wrong with this request, and what is allowed.")
    instance = text(
        "The path of the request; absent if it could not be read.", required=False, format="uri-reference"
    )
    code = text("The kind of the problem. Programs can rely on it.", enum=list(PROBLEMS))
    requestId = text("The `X-Request-ID` of the request.")
    errors = listed(
        fields.Nested(Fault),
        "With `invalid_input`, `malformed_json`, `mistyped_number` and the problems of quotes: the errors.",
        required=False,
        maxItems=MOST_FAULTS,
    )
    omittedErrors = whole("The number of errors that `errors` leaves out.", required=False, minimum=1)
    allowed = listed(
        fields.String(),
        "With `illegal_transition` and `partly_shipped`: the statuses that a client may request now.",
        required=False,
    )
    open = listed(
        fields.Dict(),
        "With `nothing_open`: the pieces that are neither shipped nor cancelled, as `line` and `quantity`.",
        required=False,
    )
    holds = listed(
        fields.Dict(),
        "With `on_hold`: the holds that block the change, as the order shows them.",
        required=False,
    )
    returnable = listed(
        fields.Dict(),
        "With `nothing_returnable`, `not_delivered` and `too_late`: the pieces that the caller can return, "
        "as `line` and `quantity`.",
        required=False,
    )
    onHand = whole("With `insufficient_stock`: the current stock level.", required=False)
    refundable = amount("With `refund_too_large`: the amount that can be refunded.", required=False)
    checks = mapping(
        "With `not_ready`: the state of each dependency.",
        required=False,
        additionalProperties={"type": "string"},
    )
