"""Empties the databases that tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.schema import INDEXES

if TYPE_CHECKING:
    from pymongo.database import Database


def empty(database: Database[dict[str, Any]]) -> None:
    """Deletes all documents. One query finds the few collections that have any."""
    name, *others = INDEXES
    filled = database[name].aggregate(
        [
            *_name_of_filled(name),
            *({"$unionWith": {"coll": other, "pipeline": _name_of_filled(other)}} for other in others),
        ]
    )
    for found in filled:
        database[found["_id"]].delete_many({})


def _name_of_filled(name: str) -> list[dict[str, Any]]:
    return [{"$limit": 1}, {"$project": {"_id": {"$literal": name}}}]
