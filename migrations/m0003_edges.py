"""Brings about what refunds, webhooks, payment events, the feed, reconciliations and counts are stored in.

A product may come back by more than one refund of an order, so a movement is told apart by its refund too:
the index that forbade this makes way. So does one of orders by status, for one that can also count them. An
order that is purged leaves its id behind from now on; those purged before are known by what still tells of
them.
"""

from collections.abc import Iterator
from contextlib import suppress

from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.config import Settings
from app.domain.clock import now
from app.storage import schema
from app.storage.database import Document
from app.storage.migrations import Progress
from app.storage.purged_orders import PurgedOrders

REPLACED = {"stock_movements": "orderId_1_productId_1_kind_1", "orders": "status_1__id_1"}
BATCH = 1_000


def upgrade(database: Database[Document], settings: Settings, progress: Progress) -> list[str]:
    """The new indexes are there before the old ones go, so that no movement is ever written twice."""
    schema.apply(database)
    for name, index in REPLACED.items():
        with suppress(OperationFailure):
            database[name].drop_index(index)
    purged = PurgedOrders(database)
    for order_ids in _batches(database):
        keys = [ObjectId(order_id) for order_id in order_ids if ObjectId.is_valid(order_id)]
        there = {found["_id"] for found in database["orders"].find({"_id": {"$in": keys}}, {"_id": 1})}
        if gone := [str(key) for key in keys if key not in there]:
            purged.note(gone, now())
    return []


def _batches(database: Database[Document]) -> Iterator[list[str]]:
    """The ids of all orders that the ledger or the sandbox tells of; those of the ledger may repeat."""
    ids: list[str] = []
    for name, field in (("stock_movements", "orderId"), ("sandbox_payments", "_id")):
        for found in database[name].find({field: {"$exists": True}}, {field: 1}, batch_size=BATCH):
            ids.append(found[field])
            if len(ids) == BATCH:
                yield ids
                ids = []
    yield ids
