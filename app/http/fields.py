"""The field types of requests. Each validates in one pass and states its bounds in OpenAPI.

Nothing is converted: a number in a string is not a number, and a boolean is not an integer.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, missing

from app.setting_parsers import DURATION_PATTERN, duration
from app.shapes import MOST_PAIRS

MAX_AMOUNT = Decimal(10) ** 10

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PATTERN = r"^[^\u0000-\u001f\u007f]*$"
_LINES_PATTERN = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_FIRST, _LAST = datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(2**32 - 1, UTC)


def text(value: Any, shortest: int, longest: int, *, lines: bool = False) -> str:
    """The value, if it is text of `shortest` to `longest` characters without control characters.

    `lines` allows tabs and line breaks. Raises ValidationError.
    """
    if not isinstance(value, str):
        raise ValidationError(
            "must be given only once" if isinstance(value, Repeated) else "must be a string"
        )
    if not shortest <= len(value) <= longest:
        raise ValidationError(f"must have {shortest} to {longest} characters")
    if (_CONTROL_BUT_LINES if lines else _CONTROL).search(value):
        raise ValidationError("must not contain control characters or unpaired surrogates")
    return value


def amount(value: Any, least: Decimal = Decimal(0)) -> Decimal:
    """The value, if it is an amount of money in major units, from `least` to MAX_AMOUNT.

    The number of decimals is not checked here. Raises ValidationError.
    """
    if type(value) is int:
        value = Decimal(value)
    elif type(value) is not Decimal:
        raise ValidationError("must be a number")
    if not least <= value <= MAX_AMOUNT:
        raise ValidationError(f"must be from {least} to {MAX_AMOUNT}")
    return value


def is_finer(value: Decimal, decimals: int) -> bool:
    """Whether the number needs more decimals than `decimals`. Trailing zeros do not count."""
    _, digits, exponent = value.as_tuple()
    too_many = -int(exponent) - decimals
    return too_many > 0 and any(digits[-too_many:])


def valid(schema: Schema, value: Any) -> dict[str, Any] | None:
    """What marshmallow loads from a valid object, in a third of the time.

    None if the object is not valid, or if this cannot say. Then marshmallow loads it, and finds every error.
    The fields are the same: this only leaves out what marshmallow does around them. Hooks are not called.
    """
    loads = _loads(schema)
    if type(value) is not dict or loads is None:
        return None
    found = {}
    try:
        for name, load, required in loads:
            given = value.get(name)
            if given is not None:
                found[name] = load(given, name, value)
            elif required:
                return None
    except ValidationError:
        return None
    # Else one is unknown, or null.
    return found if len(found) == len(value) else None


@lru_cache(256)
def _loads(schema: Schema) -> list[tuple[str, Callable[..., Any], bool]] | None:
    """The name of each field, its method, and whether it is required; None if a field needs more."""
    members = schema.load_fields
    if schema.unknown != RAISE or schema.partial or not all(map(_is_simple, members, members.values())):
        return None
    return [(name, field._deserialize, field.required) for name, field in members.items()]


def _is_simple(name: str, field: fields.Field[Any]) -> bool:
    more = (field.data_key, field.attribute, field.validators, field.pre_load, field.post_load)
    overrides = type(field).deserialize is not fields.Field.deserialize
    return not any(more) and field.load_default is missing and not overrides and "." not in name


class Repeated(list[str]):
    """The values of a query parameter that the request has more than once."""


class Checked(fields.Field[Any]):
    """A field with the service's own error messages. `doc` describes it to clients."""

    def __init__(self, *, doc: str = "", **options: Any) -> None:
        messages: Any = {"required": "is required", "null": "must not be null", "invalid": "must be a list"}
        super().__init__(error_messages=messages, **options)
        self.metadata = {**self.metadata, **({"description": doc} if doc else {})}


class Text(Checked, fields.String):
    """Text; `form` is a pattern that it must match, and the error message if it does not."""

    def __init__(
        self,
        longest: int,
        *,
        lines: bool = False,
        form: tuple[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        pattern = form[0] if form else _LINES_PATTERN if lines else _PATTERN
        bounds = {"minLength": 1, "maxLength": longest, "pattern": pattern}
        super().__init__(metadata={**bounds, **(metadata or {})}, **options)
        self._longest = longest
        self._lines = lines
        self._form = (re.compile(form[0]), form[1]) if form else None

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        found = text(value, 1, self._longest, lines=self._lines)
        if self._form and not self._form[0].search(found):
            raise ValidationError(self._form[1])
        return found


class Choice(Checked, fields.String):
    """One of several fixed values."""

    def __init__(self, choices: Sequence[str], *, kind: str = "", **options: Any) -> None:
        super().__init__(metadata={"enum": list(choices)}, **options)
        self._choices = frozenset(choices)
        self._kind = kind or f"one of {', '.join(choices)}"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if text(value, 0, 1000) not in self._choices:
            raise ValidationError(f"must be {self._kind}")
        return value


class Whole(Checked, fields.Integer):
    """A whole number within bounds; `spelled` parses it from a query parameter."""

    def __init__(self, least: int, most: int, *, spelled: bool = False, **options: Any) -> None:
        super().__init__(metadata={"minimum": least, "maximum": most}, **options)
        self._bounds = (least, most)
        self._spelled = spelled

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if self._spelled and re.fullmatch(r"-?\d{1,18}", text(value, 0, 1000), re.ASCII):
            value = int(value)
        # In JSON Schema and JavaScript, 2.0 is the integer 2.
        if type(value) is not int and not (type(value) is Decimal and value == value.to_integral_value()):
            raise ValidationError("must be a whole number")
        least, most = self._bounds
        if not least <= value <= most:
            raise ValidationError(f"must be from {least} to {most}")
        return int(value)


class Flag(Checked, fields.Boolean):
    """True or false, with no substitutes such as 1 or "yes"."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if type(value) is not bool:
            raise ValidationError("must be true or false")
        return value


class Amount(Checked, fields.Decimal):
    """Money in major units, exact. `signed` allows amounts below 0."""

    def __init__(self, *, signed: bool = False, **options: Any) -> None:
        self._least = -MAX_AMOUNT if signed else Decimal(0)
        super().__init__(metadata={"minimum": int(self._least), "maximum": int(MAX_AMOUNT)}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Decimal:
        return amount(value, self._least)


class Moment(Checked, fields.DateTime):
    """A time of RFC 3339 with an offset, as UTC, rounded up to a whole millisecond and limited to the times
    that an order id can hold."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        if not _MOMENT.fullmatch(text(value, 0, 1000)):
            raise ValidationError("must be a time such as 2024-10-04T10:00:00.000Z")
        try:
            moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
            return min(max(moment, _FIRST), _LAST) + timedelta(microseconds=-moment.microsecond % 1000)
        except (ValueError, OverflowError) as error:
            raise ValidationError("must be a time that exists") from error


class Period(Checked, fields.String):
    """A length of time such as 30d, of at most `longest`; `usual` if it is absent."""

    def __init__(self, usual: str, longest: timedelta, **options: Any) -> None:
        facts = {"pattern": DURATION_PATTERN, "examples": [usual, "12h"], "default": usual}
        super().__init__(metadata=facts, load_default=duration(usual), **options)
        self._longest = longest

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        try:
            found = duration(text(value, 0, 1000))
        except ValueError as error:
            is_zero = isinstance(value, str) and re.fullmatch(DURATION_PATTERN, value)
            fault = "must be above zero" if is_zero else "must be a length of time such as 30d, 12h or 15m"
            raise ValidationError(fault) from error
        if found > self._longest:
            raise ValidationError(f"must be at most {self._longest.days}d")
        return found


class ListOf(Checked, fields.List[Any]):
    """A list of `least` to `most` items."""

    def __init__(
        self, inner: fields.Field[Any], least: int = 0, most: int | None = None, **options: Any
    ) -> None:
        bounds = {"minItems": least} | ({"maxItems": most} if most else {})
        super().__init__(cls_or_instance=inner, metadata=bounds, **options)
        self._bounds = (least, most)

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> list[Any]:
        least, most = self._bounds
        if isinstance(value, list) and (len(value) < least or (most and len(value) > most)):
            raise ValidationError(f"must have {least} to {most} items")
        return super()._deserialize(value, *args, **options)


class ObjectOf(Checked, fields.Nested):
    """An object with its own schema."""

    def __init__(self, schema: type[Schema], **options: Any) -> None:
        super().__init__(nested=schema, **options)

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        found = (
            None if options.get("partial") or any(self.schema._hooks.values()) else valid(self.schema, value)
        )
        return super()._deserialize(value, *args, **options) if found is None else found


class Pairs(Checked, fields.Dict):
    """A mapping of short names to texts. `nullable`: the texts can be null, as in a merge patch, and the
    number of names is not checked, since some of them may be removed."""

    MOST, LONGEST_NAME, LONGEST_TEXT = MOST_PAIRS, 64, 512

    def __init__(self, *, nullable: bool = False, **options: Any) -> None:
        self._nullable = nullable
        super().__init__(
            metadata={
                **({} if nullable else {"maxProperties": self.MOST}),
                "propertyNames": {"minLength": 1, "maxLength": self.LONGEST_NAME, "pattern": _PATTERN},
                "additionalProperties": {
                    "type": ["string", "null"] if nullable else "string",
                    "maxLength": self.LONGEST_TEXT,
                    "pattern": _LINES_PATTERN,
                },
            },
            **options,
        )

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValidationError("must be an object")
        if len(value) > self.MOST and not self._nullable:
            raise ValidationError(f"must have at most {self.MOST} pairs")
        faults: dict[str, list[str]] = {}
        for name, content in value.items():
            try:
                text(name, 1, self.LONGEST_NAME)
            except ValidationError as error:
                faults[name] = [f"the name {message}" for message in error.messages]
            if content is None and self._nullable:
                continue
            try:
                text(content, 0, self.LONGEST_TEXT, lines=True)
            except ValidationError as error:
                faults.setdefault(name, []).extend(error.messages)
        if faults:
            raise ValidationError(faults)
        return value
