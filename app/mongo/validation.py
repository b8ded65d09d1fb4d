"""JSON schema as MongoDB has it: the words in which validators are written, and how fields become one."""

from collections.abc import Sequence
from typing import Any

from app.shapes import MOST_PAIRS, Amount, Choice, Field, Flag, Kind, Many, Moment, Pairs, Record, Text, Whole

Schema = dict[str, Any]

TEXT: Schema = {"bsonType": "string"}
NAME: Schema = {"bsonType": "string", "minLength": 1, "maxLength": 128}
HASH: Schema = {"bsonType": "string", "minLength": 64, "maxLength": 64}
TIME: Schema = {"bsonType": "date"}
KEY: Schema = {"bsonType": "objectId"}
FLAG: Schema = {"bsonType": "bool"}
BYTES: Schema = {"bsonType": "binData"}
INTEGER: Schema = {"bsonType": ["int", "long"]}
COUNT: Schema = {**INTEGER, "minimum": 0}
ORDINAL: Schema = {**INTEGER, "minimum": 1}
COUNTS: Schema = {"bsonType": "object", "additionalProperties": COUNT}
TEXTS: Schema = {"bsonType": "object", "additionalProperties": TEXT}


def list_of(items: Schema, **bounds: int) -> Schema:
    """A list of such items."""
    return {"bsonType": "array", "items": items, **bounds}


def one_of(*values: object) -> Schema:
    """One of these values."""
    return {"enum": list(values)}


def exactly(required: dict[str, Schema], **optional: Schema) -> Schema:
    """An object with these fields and no others."""
    # MongoDB refuses an empty list of required fields.
    return {
        "bsonType": "object",
        **({"required": list(required)} if required else {}),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


# A map whose names a client chooses, and its other form; `orders.documents_store` says which is stored when.
PAIRS: Schema = {"anyOf": [TEXTS, list_of(exactly({"name": TEXT, "value": TEXT}), maxItems=MOST_PAIRS)]}


def always(fields: Sequence[Field]) -> dict[str, Schema]:
    """Those of the fields that every such document has, by their names."""
    return {field.name: stored(field.kind) for field in fields if field.stored and field.always}


def sometimes(fields: Sequence[Field]) -> dict[str, Schema]:
    """Those of the fields that such a document may lack, by their names."""
    return {field.name: stored(field.kind) for field in fields if field.stored and not field.always}


def stored(kind: Kind) -> Schema:
    """MongoDB's schema for such a value."""
    match kind:
        case Text():
            return TEXT if kind.longest is None else {**TEXT, "minLength": 1, "maxLength": kind.longest}
        case Choice():
            return one_of(*kind.values)
        case Whole():
            return {**INTEGER, "minimum": kind.least} | ({"maximum": kind.most} if kind.most else {})
        case Amount():
            return INTEGER if kind.signed else COUNT
        case Moment():
            return TIME
        case Flag():
            return FLAG
        case Pairs():
            return PAIRS
        case Record():
            return exactly(always(kind.fields), **sometimes(kind.fields))
        case Many():
            bounds = {"minItems": kind.least, "maxItems": kind.most}
            return list_of(stored(kind.of), **{name: bound for name, bound in bounds.items() if bound})
