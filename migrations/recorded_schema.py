"""Applies the schema that a step has recorded beside it; released with the step, so it never changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import IndexModel
from pymongo.errors import CollectionInvalid

if TYPE_CHECKING:
    from pymongo.database import Database


def apply(database: Database[dict[str, Any]], step: str) -> None:
    """Make what is missing of the collections and indexes in the step's JSON file, and set its validators.

    The file maps each collection to its `validator` and its `indexes`: `fields` in ascending order, and
    optionally `only` (the filter of a partial index) and `unique`. No index is dropped.
    """
    recorded = json.loads(Path(__file__).with_name(f"{step}.json").read_text())
    for name, rules in recorded.items():
        _validate(database, name, rules["validator"])
        if rules["indexes"]:
            database[name].create_indexes([_model(index) for index in rules["indexes"]])


def _validate(database: Database[dict[str, Any]], name: str, validator: dict[str, Any]) -> None:
    rules: dict[str, Any] = {"validator": validator, "validationLevel": "strict", "validationAction": "error"}
    try:
        database.create_collection(name, **rules)
    except CollectionInvalid:
        database.command("collMod", name, **rules)


def _model(index: dict[str, Any]) -> IndexModel:
    options: dict[str, Any] = {}
    if "only" in index:
        options["partialFilterExpression"] = index["only"]
    if "unique" in index:
        options["unique"] = index["unique"]
    return IndexModel(index["fields"], **options)
