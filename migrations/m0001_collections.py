"""Makes the first collections with their validators and indexes, as m0001_collections.json records them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrations import recorded_schema

if TYPE_CHECKING:
    from pymongo.database import Database

    from app.config import Settings
    from app.migrations import Progress


def upgrade(database: Database[dict[str, Any]], settings: Settings, progress: Progress) -> list[str]:
    """Nothing is dropped, and orders of the original service may stay as they are for now."""
    recorded_schema.apply(database, "m0001_collections")
    return []
