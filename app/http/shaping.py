"""Builds the marshmallow schemas of requests and answers from the fields of a record."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from marshmallow import Schema, fields

from app import shapes
from app.http.fields import Amount, Choice, Flag, ListOf, Moment, ObjectOf, Pairs, Text, Whole
from app.http.schemas import Answer, Input
from app.shapes import Field, Kind, Many, Record


def input_fields(given: Sequence[Field]) -> dict[str, Any]:
    """The fields of a request by name: those that clients may send."""
    return {
        field.name: _input(field.kind, field.doc, required=field.given == "required")
        for field in given
        if field.given
    }


def patch_fields(given: Sequence[Field]) -> dict[str, Any]:
    """The fields of a merge patch by name: those that a PATCH can change. All are optional, and may be
    null."""
    return {field.name: _patch(field.kind, field.doc) for field in given if field.amendable}


def answer_fields(shown: Sequence[Field]) -> dict[str, Any]:
    """The fields of an answer by name: those that clients may see."""
    return {field.name: _answer(field.kind, field.doc, field.always) for field in shown if field.shown}


@cache
def input_schema(record: Record) -> type[Schema]:
    """The schema of a record in a request."""
    return _schema(record.sent or record.named, record.doc, Input, input_fields(record.fields))


@cache
def answer_schema(record: Record) -> type[Schema]:
    """The schema of a record in an answer. It is that of requests if clients get back what they sent."""
    if not record.sent and all(field.given for field in record.fields):
        return input_schema(record)
    return _schema(record.named, record.doc, Answer, answer_fields(record.fields))


def _schema(name: str, doc: str, base: type[Schema], members: Mapping[str, Any]) -> type[Schema]:
    return type(name, (base,), {"__doc__": doc, **members})


def _input(kind: Kind, doc: str = "", *, required: bool = False) -> Any:
    made: Any
    match kind:
        case shapes.Text():
            made = Text(kind.longest or 0, lines=kind.lines, form=kind.pattern, required=required)
        case shapes.Choice():
            made = Choice(kind.values, kind=kind.means, required=required)
        case shapes.Whole():
            made = Whole(kind.least, kind.most or 2**53, required=required)
        case shapes.Amount():
            made = Amount(signed=kind.signed, required=required)
        case shapes.Moment():
            made = Moment(required=required)
        case shapes.Flag():
            made = Flag(required=required)
        case shapes.Pairs():
            made = Pairs(required=required)
        case Record():
            made = ObjectOf(input_schema(kind), required=required)
        case Many():
            made = ListOf(_input(kind.of), kind.least, kind.most, required=required)
    made.metadata.update({"description": doc} if doc else {})
    return made


def _patch(kind: Kind, doc: str) -> Any:
    made: Any
    match kind:
        case shapes.Pairs():
            made = Pairs(nullable=True, doc=doc)
        case Record():
            made = ObjectOf(_patch_schema(kind), doc=doc)
        case _:
            made = _input(kind, doc)
    made.allow_none = True
    return made


@cache
def _patch_schema(record: Record) -> type[Schema]:
    members = {field.name: _patch(field.kind, field.doc) for field in record.fields if field.given}
    return _schema(f"{record.named}Patch", record.doc, Input, members)


def _answer(kind: Kind, doc: str = "", required: bool = False) -> Any:
    made: Any
    match kind:
        case shapes.Text():
            pattern = {"pattern": kind.pattern[0]} if kind.pattern and required else {}
            made = fields.String(required=required, metadata=pattern)
        case shapes.Choice():
            bounds = {"pattern": kind.pattern} if kind.pattern else {"enum": list(kind.values)}
            made = fields.String(required=required, metadata=bounds)
        case shapes.Whole():
            made = fields.Integer(required=required, metadata={"minimum": kind.least})
        case shapes.Amount():
            made = fields.Decimal(required=required, metadata={} if kind.signed else {"minimum": 0})
        case shapes.Moment():
            made = fields.DateTime(required=required, metadata={"examples": ["2024-10-04T10:00:00.000Z"]})
        case shapes.Flag():
            made = fields.Boolean(required=required)
        case shapes.Pairs():
            made = fields.Dict(required=required, metadata={"additionalProperties": {"type": "string"}})
        case Record():
            made = fields.Nested(answer_schema(kind), required=required)
        case Many():
            made = fields.List(_answer(kind.of), required=required)
    made.metadata.update({"description": doc} if doc else {})
    return made
