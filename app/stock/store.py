"""The stock levels and the ledger of their movements. Both change together, in one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import UpdateMany
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from app.mongo.batches import locked
from app.mongo.database import Document, Transaction
from app.mongo.documents import DUPLICATE_KEY, to_document, to_record
from app.mongo.outages import reports_outages
from app.orders.step_errors import StepFault
from app.stock.model import Level, Movement


class LevelTooLow(Exception):
    """A level would fall below zero, or the product is not tracked. The transaction must end."""


class AlreadyMoved(StepFault):
    """The ledger already has a movement of this order, product and kind. The transaction must end."""

    code = "stock_mismatch"


@reports_outages
class Stock:
    """Reads and writes levels and movements. Every write needs the caller's transaction."""

    def __init__(self, database: Database[Document]) -> None:
        self._levels = database["stock"]
        self._movements = database["stock_movements"]

    def level(self, product_id: str, transaction: Transaction | None = None) -> Level | None:
        """The level of a product; None if the product is not tracked."""
        document = self._levels.find_one({"_id": product_id}, session=transaction)
        return _level(document) if document else None

    def levels(self, after: str | None, limit: int) -> list[Level]:
        """Up to `limit + 1` levels, sorted by product id."""
        condition = {"_id": {"$gt": after}} if after is not None else {}
        return [_level(found) for found in self._levels.find(condition).sort("_id").limit(limit + 1)]

    def on_hand(self, product_ids: Iterable[str], transaction: Transaction) -> dict[str, int]:
        """The quantity on hand of each product that is tracked."""
        found = self._levels.find({"_id": {"$in": sorted(product_ids)}}, {"onHand": 1}, session=transaction)
        return {document["_id"]: document["onHand"] for document in found}

    def levels_of(self, product_ids: Iterable[str], transaction: Transaction) -> list[Level]:
        """The levels of the products that are tracked, sorted by product id."""
        found = self._levels.find({"_id": {"$in": sorted(product_ids)}}, session=transaction).sort("_id")
        return [_level(document) for document in found]

    def create(self, levels: Sequence[Level], transaction: Transaction) -> None:
        """Starts to track products."""
        if levels:
            self._levels.insert_many([_fresh(level) for level in levels], session=transaction)

    def move(
        self,
        deltas: Mapping[str, int],
        movements: Sequence[Movement],
        at: datetime,
        transaction: Transaction,
    ) -> None:
        """Changes the levels by the deltas and writes the movements. Raises LevelTooLow, AlreadyMoved."""
        if not deltas:
            return
        # One statement for all products with the same delta costs the database less than one for each.
        alike: dict[int, list[str]] = defaultdict(list)
        for product, delta in deltas.items():
            alike[delta].append(product)
        writes = [
            UpdateMany(
                {"_id": {"$in": products}, "onHand": {"$gte": -delta}},
                {"$inc": {"onHand": delta, "version": 1}, "$set": {"updatedAt": at}},
            )
            for delta, products in alike.items()
        ]
        if self._levels.bulk_write(writes, session=transaction).matched_count != len(deltas):
            raise LevelTooLow
        if not movements:
            return
        try:
            self._movements.insert_many(
                [to_document(movement, ObjectId) for movement in movements], session=transaction
            )
        except BulkWriteError as error:
            if any(fault["code"] != DUPLICATE_KEY for fault in error.details["writeErrors"]):
                raise
            raise AlreadyMoved from error

    def locked(self, product_ids: Iterable[str]) -> set[str]:
        """The products that another transaction has locked now."""
        return locked(self._levels, product_ids, {"$inc": {"version": 1}})

    def held_by(self, order_ids: Sequence[str], transaction: Transaction) -> dict[str, dict[str, int]]:
        """The quantity of each product that these orders have taken and not put back."""
        held: dict[str, dict[str, int]] = {}
        for row in self._movements.find({"orderId": {"$in": list(order_ids)}}, session=transaction):
            lines = held.setdefault(row["orderId"], {})
            lines[row["productId"]] = lines.get(row["productId"], 0) - row["quantity"]
        return held

    def movements(self, product_id: str, after: str | None, limit: int) -> list[Movement]:
        """Up to `limit + 1` movements of a product, newest first."""
        condition: Document = {"productId": product_id}
        if after is not None:
            condition["_id"] = {"$lt": ObjectId(after)}
        found = self._movements.find(condition).sort("_id", -1).limit(limit + 1)
        return [to_record(document) for document in found]


def _fresh(level: Level) -> Document:
    document: Any = {"_id": level["productId"], **level}
    del document["productId"]
    return document


def _level(document: Document) -> Level:
    return Level(
        productId=document["_id"],
        onHand=document["onHand"],
        version=document["version"],
        updatedAt=document["updatedAt"],
    )
