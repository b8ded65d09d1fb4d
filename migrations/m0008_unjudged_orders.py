"""Lets the report of a reconciliation say how many orders it did not judge."""

from pymongo.database import Database

from app.config import Settings
from app.storage import schema
from app.storage.database import Document
from app.storage.migrations import Progress


def upgrade(database: Database[Document], settings: Settings, progress: Progress) -> list[str]:
    """Earlier reports stay as they are."""
    schema.apply(database)
    return []
