"""The keys that orders are found by and that are not part of their logs, for orders stored without them.

A new order gets them when it is stored. An order of the previous release gets them here, soon afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo
from bson import ObjectId
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from app.mongo.documents import DUPLICATE_KEY
from app.mongo.outages import reports_outages
from app.orders.documents_store import OrderDocuments
from app.orders.numbers import numbers_of

if TYPE_CHECKING:
    from pymongo.database import Database

    from app.mongo.database import Document
    from app.orders.model import Order
    from app.orders.personal_index import PersonalIndex

_KEYED: Document = {"emailKey": 1, "personal.email": 1}
# Its index holds no other orders.
_UNNUMBERED: Document = {"number": None}
# Seconds. A transaction may have locked an order for longer. Then the next call continues.
_PROMPT = 1.0


@reports_outages
class SearchKeys:
    """Adds missing keys."""

    def __init__(self, database: Database[Document], index: PersonalIndex) -> None:
        self._orders = database["orders"]
        self._documents = OrderDocuments(database)
        self.index = index

    def number(self, limit: int) -> int:
        """Gives a number, and a key by email, to each order without a number, up to `limit` of them. Returns
        how many there were.

        An order whose first number is taken gets the next one. Damaged orders get a number, too.
        """
        orders = self._documents.find(_UNNUMBERED, _KEYED, limit=limit)
        self._update(self._email_keys(orders))
        numbers = {ObjectId(order["id"]): numbers_of(order["id"]) for order in orders}
        left = list(numbers)
        while left:
            writes = [
                UpdateOne({"_id": key, **_UNNUMBERED}, {"$set": {"number": next(numbers[key])}})
                for key in left
            ]
            left = [left[position] for position in self._taken(writes)]
        return len(numbers)

    def index_emails(self, after: str | None, limit: int) -> tuple[str | None, int]:
        """Corrects the keys by email of the next `limit` orders. Returns the last id, None at the end, and
        the number of corrected orders."""
        behind = {"_id": {"$gt": ObjectId(after)}} if after else {}
        orders = self._documents.find(behind, _KEYED, sort=[("_id", 1)], limit=limit)
        corrected = self._email_keys(orders)
        self._update(corrected)
        return orders[-1]["id"] if orders else None, len(corrected)

    def correct_email(self, order_id: str) -> None:
        """Corrects the key by email of this order."""
        self._update(self._email_keys(self._documents.find({"_id": ObjectId(order_id)}, _KEYED)))

    def count(self) -> int:
        """About how many orders there are."""
        return self._orders.estimated_document_count()

    def _email_keys(self, orders: list[Order]) -> list[UpdateOne]:
        """The updates for the orders whose key is not that of their address. An address that has changed or
        was erased meanwhile is left alone."""
        updates = []
        for order in orders:
            personal: Any = order.get("personal", {})
            key = self.index.key_of(personal)
            if key != order.get("emailKey"):
                change = {"$set": {"emailKey": key}} if key else {"$unset": {"emailKey": ""}}
                email = personal.get("email", {"$exists": False})
                updates.append(UpdateOne({"_id": ObjectId(order["id"]), "personal.email": email}, change))
        return updates

    def _update(self, updates: list[UpdateOne]) -> None:
        if updates:
            self._orders.bulk_write(updates, ordered=False, bypass_document_validation=True)

    def _taken(self, writes: list[UpdateOne]) -> list[int]:
        """Makes the updates. Returns the positions of those that the unique index refused."""
        try:
            with pymongo.timeout(_PROMPT):
                self._orders.bulk_write(writes, ordered=False, bypass_document_validation=True)
        except BulkWriteError as error:
            faults = error.details["writeErrors"]
            if not faults or any(fault["code"] != DUPLICATE_KEY for fault in faults):
                raise
            return [fault["index"] for fault in faults]
        return []
