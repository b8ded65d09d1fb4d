"""Brings about what refunds, webhooks, payment events, the feed and reconciliations are stored in.

A product may come back by more than one refund of an order, so a movement is told apart by its refund too:
the index that forbade this makes way.
"""

from contextlib import suppress

from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.config import Settings
from app.storage import schema
from app.storage.database import Document
from app.storage.migrations import Progress

NARROWER_INDEX = "orderId_1_productId_1_kind_1"


def upgrade(database: Database[Document], settings: Settings, progress: Progress) -> list[str]:
    """The new index is there before the old one goes, so that no movement is ever written twice."""
    schema.apply(database)
    with suppress(OperationFailure):
        database["stock_movements"].drop_index(NARROWER_INDEX)
    return []
