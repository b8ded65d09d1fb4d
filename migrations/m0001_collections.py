"""Makes the collections with their validators and indexes, as `app.storage.schema` declares them.

A later change of that declaration comes with a migration of its own that applies it again.
"""

from pymongo.database import Database

from app.config import Settings
from app.storage import schema
from app.storage.database import Document
from app.storage.migrations import Progress


def upgrade(database: Database[Document], settings: Settings, progress: Progress) -> list[str]:
    """Nothing is dropped, and orders of the original service may stay as they are for now."""
    schema.apply(database)
    return []
