"""The types of the code agree with the one definition of an order's fields, in both directions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from app.orders import fields, model, service
from app.orders.refunds import Refund
from app.shapes import Amount, Choice, Field, Flag, Many, Moment, Pairs, Record, Text, Whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from app.shapes import Kind

# The fields that belong to the document or to the work on it, and not to the state of the order.
BESIDE = {"events", "announced", "dueBy", "attempts", "lastError", "carried", "origin", "personal"}
BESIDE |= {"noteTexts", "erasedAt"}
# These are never stored.
BESIDE |= {"storedVersion", "unmarked"}
PLAIN = {Text: str, Choice: str, Whole: int, Amount: int, Moment: datetime, Flag: bool}
STATE = [field for field in fields.ORDER if field.stored and not field.personal]
PERSONAL = [field for field in fields.ORDER if field.personal]
GIVEN = [field for field in fields.ORDER if field.given]


@pytest.mark.parametrize(
    ("typed", "defined", "more"),
    [
        (model.Order, STATE, BESIDE),
        (model.Personal, PERSONAL, {"salt"}),
        (service.Draft, GIVEN, set()),
        (Refund, fields.REFUND_STATE.fields, set()),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_type_has_the_fields_of_its_definition(typed: Any, defined: list[Field], more: set[str]) -> None:
    """Each with the type that the definition gives it, and optional where the definition says so."""
    faults = list(differences(typed, defined, more))
    assert faults == []


def differences(typed: Any, defined: Iterable[Field], more: Iterable[str] = ()) -> Iterator[str]:
    """The fields of a TypedDict that are missing, unknown, of another type or wrongly optional."""
    hints = get_type_hints(typed)
    by_name = {field.name: field for field in defined if field.stored or field.given}
    for name in hints.keys() ^ (by_name.keys() | set(more)):
        yield f"{typed.__name__}.{name} is in one of the two only"
    for name in hints.keys() & by_name.keys():
        field = by_name[name]
        is_required = field.given == "required" if typed is service.Draft else field.always
        if name == "currency":
            is_required = True  # the schema of the request fills it in
        if typed is not model.Personal and is_required != (name in typed.__required_keys__):
            yield f"{typed.__name__}.{name} is optional in one of the two only"
        yield from mismatches(f"{typed.__name__}.{name}", hints[name], field.kind)


def mismatches(where: str, hint: Any, kind: Kind) -> Iterator[str]:
    """The places at which a type and a kind disagree."""
    match kind:
        case Many():
            if get_origin(hint) is not list:
                yield f"{where} is a list in the definition"
            else:
                yield from mismatches(where, get_args(hint)[0], kind.of)
        case Record() if is_typeddict(hint):
            yield from differences(hint, kind.fields)
        case Record():
            texts = all(isinstance(field.kind, Text | Choice) for field in kind.fields)
            if hint not in ((dict[str, str], dict[str, Any]) if texts else (dict[str, Any],)):
                yield f"{where} is an object in the definition"
        case Pairs():
            if hint != dict[str, str]:
                yield f"{where} is a map in the definition"
        case _:
            if hint is not PLAIN[type(kind)]:
                yield f"{where} is {PLAIN[type(kind)].__name__} in the definition"


def test_a_difference_is_found() -> None:
    """In each of the ways in which the two can differ."""
    changed = [
        *(field for field in STATE if field.name not in ("tracking", "version", "createdAt", "reference")),
        Field("version", Text(), ""),
        Field("createdAt", Moment(), "", always=False),
        Field("reference", Many(Text()), "", always=False),
        Field("giftNote", Text(), ""),
    ]
    assert {fault.split(" ")[0] for fault in differences(model.Order, changed, BESIDE)} == {
        f"Order.{name}" for name in ("tracking", "version", "createdAt", "reference", "giftNote")
    }
