"""The keys that orders are found by and that are not part of their logs, for orders stored without them.

A new order gets them when it is stored. An order of the previous release gets them here, soon afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pymongo
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from app.mongo.documents import DUPLICATE_KEY
from app.mongo.outages import reports_outages
from app.orders.numbers import numbers_of

if TYPE_CHECKING:
    from pymongo.database import Database

    from app.mongo.database import Document

# Its index holds no other orders.
_UNNUMBERED: Document = {"number": None}
# Seconds. A transaction may have locked an order for longer. Then the next call continues.
_PROMPT = 1.0


@reports_outages
class SearchKeys:
    """Adds missing keys."""

    def __init__(self, database: Database[Document]) -> None:
        self._orders = database["orders"]

    def number(self, limit: int) -> int:
        """Gives a number to each order that has none, up to `limit` of them. Returns how many there were.

        An order whose first number is taken gets the next one. Damaged orders get a number, too.
        """
        found = self._orders.find(_UNNUMBERED, {"_id": 1}).limit(limit)
        numbers = {order["_id"]: numbers_of(str(order["_id"])) for order in found}
        left = list(numbers)
        while left:
            writes = [
                UpdateOne({"_id": key, **_UNNUMBERED}, {"$set": {"number": next(numbers[key])}})
                for key in left
            ]
            left = [left[position] for position in self._taken(writes)]
        return len(numbers)

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
