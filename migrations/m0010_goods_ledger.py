"""Lets the ledger of the stock have several movements of an order and product that come back by line.

The unique index of the movements gets the fields that tell them apart. The one before would refuse them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import IndexModel

if TYPE_CHECKING:
    from pymongo.database import Database

    from app.config import Settings
    from app.migrations import Progress

BEFORE = "orderId_1_productId_1_kind_1_refundId_1"
FIELDS = ["orderId", "productId", "kind", "refundId", "line", "cancellationId", "returnId", "receipt"]


def upgrade(database: Database[dict[str, Any]], settings: Settings, progress: Progress) -> list[str]:
    """The index before stays until the new one is there, so each movement is unique all the time."""
    movements = database["stock_movements"]
    only = {"orderId": {"$exists": True}}
    movements.create_indexes([IndexModel(FIELDS, unique=True, partialFilterExpression=only)])
    if BEFORE in movements.index_information():
        movements.drop_index(BEFORE)
    return []
