"""Brings about what refunds, webhooks, payment events, the feed, reconciliations and counts are stored in.

A product may come back by more than one refund of an order, so a movement is told apart by its refund too:
the index that forbade this makes way. So does one of orders by status, for one that can also count them.
"""

from contextlib import suppress

from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.config import Settings
from app.storage import schema
from app.storage.database import Document
from app.storage.migrations import Progress

REPLACED = {"stock_movements": "orderId_1_productId_1_kind_1", "orders": "status_1__id_1"}


def upgrade(database: Database[Document], settings: Settings, progress: Progress) -> list[str]:
    """The new indexes are there before the old ones go, so that no movement is ever written twice."""
    schema.apply(database)
    for name, index in REPLACED.items():
        with suppress(OperationFailure):
            database[name].drop_index(index)
    return []
