"""Remembers purged orders, since the stock ledger and the payment provider still have entries about them."""

from collections.abc import Collection, Sequence
from datetime import datetime

from bson import ObjectId
from pymongo.database import Database

from app.mongo.database import Document
from app.mongo.documents import insert_new
from app.mongo.outages import reports_outages


@reports_outages
class PurgedOrders:
    """Stores only the ids of the orders."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["purged_orders"]

    def note(self, order_ids: Sequence[str], at: datetime) -> None:
        """Records that these orders are about to be purged. It is safe to repeat."""
        insert_new(self._collection, [{"_id": ObjectId(order_id), "at": at} for order_id in order_ids])

    def among(self, order_ids: Collection[str]) -> set[str]:
        """The ids that belong to purged orders."""
        keys = [ObjectId(order_id) for order_id in order_ids if ObjectId.is_valid(order_id)]
        if not keys:
            return set()
        found = self._collection.find({"_id": {"$in": keys}})
        return {str(document["_id"]) for document in found}
