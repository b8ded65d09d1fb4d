"""Brings about what refunds, webhooks, payment events, the feed, reconciliations and counts are stored in.

A product may come back by more than one refund of an order, so a movement is told apart by its refund too:
the index that forbade this makes way. So does one of orders by status, for one that can also count them. An
order that is purged leaves its id behind from now on; those purged before are known by what still tells of
them.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo.errors import BulkWriteError, OperationFailure

from migrations import recorded_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from app.config import Settings
    from app.migrations import Progress

REPLACED = {"stock_movements": "orderId_1_productId_1_kind_1", "orders": "status_1__id_1"}
BATCH = 1_000
DUPLICATE_KEY = 11000


def upgrade(database: Database[dict[str, Any]], settings: Settings, progress: Progress) -> list[str]:
    """The new indexes are there before the old ones go, so that no movement is ever written twice."""
    recorded_schema.apply(database, "m0003_edges")
    for name, index in REPLACED.items():
        with suppress(OperationFailure):
            database[name].drop_index(index)
    for order_ids in _batches(database):
        keys = [ObjectId(order_id) for order_id in order_ids if ObjectId.is_valid(order_id)]
        there = {found["_id"] for found in database["orders"].find({"_id": {"$in": keys}}, {"_id": 1})}
        _note(database, [key for key in keys if key not in there])
    return []


def _note(database: Database[dict[str, Any]], purged: list[ObjectId]) -> None:
    """Note the ids of purged orders; those that are noted already stay as they are."""
    if not purged:
        return
    moment = datetime.now(UTC)
    try:
        database["purged_orders"].insert_many([{"_id": key, "at": moment} for key in purged], ordered=False)
    except BulkWriteError as error:
        if any(fault["code"] != DUPLICATE_KEY for fault in error.details["writeErrors"]):
            raise


def _batches(database: Database[dict[str, Any]]) -> Iterator[list[str]]:
    """The ids of all orders that the ledger or the sandbox tells of; those of the ledger may repeat."""
    ids: list[str] = []
    for name, field in (("stock_movements", "orderId"), ("sandbox_payments", "_id")):
        for found in database[name].find({field: {"$exists": True}}, {field: 1}, batch_size=BATCH):
            ids.append(found[field])
            if len(ids) == BATCH:
                yield ids
                ids = []
    yield ids
