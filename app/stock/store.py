"""The stock levels and the ledger of their movements. Both change together, in one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from app.stock.model import Arrival, Level, Movement, Supply

# The marks of a level. `waited` is there while orders wait for the product, and `came` while stock has come
# for them that is not dealt. Each new value differs from the one before, so of two transactions that begin to
# wait and bring stock one sees what the other did.
_MARKS: Document = {"came": "", "waited": "", "trackedAt": ""}
_MARKS_SHOWN: Document = dict.fromkeys(_MARKS, 1)


class LevelTooLow(Exception):
    """A level would fall below zero, or the product is not tracked. The transaction must end."""


class AlreadyMoved(StepFault):
    """The ledger already has a movement of this order, product and kind. The transaction must end."""

    code = "stock_mismatch"


_HOLDS: Document = {"status": "pending", "stock.status": "decremented"}
# The pending orders that hold stock, and the index that finds them: those that took it before the payment,
# and those that took it after.
_HOLDING: tuple[tuple[Document, list[tuple[str, int]]], ...] = (
    ({"stockFirst": True, **_HOLDS}, [("products.productId", 1), ("stock.status", 1), ("_id", 1)]),
    (
        {"visible": True, "payment.status": "authorized", "stockFirst": {"$exists": False}, **_HOLDS},
        [("payment.status", 1), ("_id", 1)],
    ),
)


@reports_outages
class Stock:
    """Reads and writes levels and movements. Every write needs the caller's transaction."""

    def __init__(self, database: Database[Document]) -> None:
        self._levels = database["stock"]
        self._movements = database["stock_movements"]
        self._orders = database["orders"]

    def level(self, product_id: str, transaction: Transaction | None = None) -> Level | None:
        """The level of a product; None if the product is not tracked."""
        document = self._levels.find_one({"_id": product_id}, session=transaction)
        return _level(document) if document else None

    def levels(self, after: str | None, limit: int, transaction: Transaction) -> list[Level]:
        """Up to `limit + 1` levels, sorted by product id."""
        condition = {"_id": {"$gt": after}} if after is not None else {}
        found = self._levels.find(condition, session=transaction).sort("_id").limit(limit + 1)
        return [_level(document) for document in found]

    def on_hand(self, product_ids: Iterable[str], transaction: Transaction) -> dict[str, int]:
        """The quantity on hand of each product that is tracked."""
        found = self._levels.find({"_id": {"$in": sorted(product_ids)}}, {"onHand": 1}, session=transaction)
        return {document["_id"]: document["onHand"] for document in found}

    def supply(self, product_ids: Iterable[str], transaction: Transaction) -> Supply:
        """As `on_hand`, with the products whose stock has come and is not dealt yet."""
        shown = {"onHand": 1, "came": 1}
        found = list(self._levels.find({"_id": {"$in": sorted(product_ids)}}, shown, session=transaction))
        on_hand = {document["_id"]: document["onHand"] for document in found}
        return Supply(on_hand, {document["_id"] for document in found if "came" in document})

    def begin_waiting(self, product_ids: Iterable[str], transaction: Transaction) -> None:
        """Marks the products: from now on, stock that comes is to be dealt."""
        products = sorted(product_ids)
        if products:
            marked = {"$set": {"waited": ObjectId()}}
            self._levels.update_many({"_id": {"$in": products}}, marked, session=transaction)

    def arrivals(self, limit: int, product_ids: Iterable[str] | None = None) -> list[Arrival]:
        """The stock of these products, or of any, that has come and is not dealt yet."""
        condition: Document = {"came": {"$exists": True}}
        if product_ids is not None:
            condition["_id"] = {"$in": sorted(product_ids)}
        return [
            Arrival(found["_id"], found["came"], found.get("waited"), found.get("trackedAt"))
            for found in self._levels.find(condition, _MARKS_SHOWN).limit(limit)
        ]

    def end_arrival(self, arrival: Arrival, *, waits: bool) -> None:
        """Records that the stock is dealt, unless more has come since. `waits`: orders still wait."""
        dealt: Document = {"_id": arrival.product_id, "came": arrival.came}
        if not waits:
            alone = {**dealt, "waited": arrival.waited}
            if self._levels.update_one(alone, {"$unset": _MARKS}).matched_count:
                return
        self._levels.update_one(dealt, {"$unset": {"came": ""}})

    def levels_of(self, product_ids: Iterable[str], transaction: Transaction) -> list[Level]:
        """The levels of the products that are tracked, sorted by product id."""
        found = self._levels.find({"_id": {"$in": sorted(product_ids)}}, session=transaction).sort("_id")
        return [_level(document) for document in found]

    def create(self, levels: Sequence[Level], transaction: Transaction, *, wanted: bool = False) -> None:
        """Starts to track products. Set `wanted` if orders can wait for products that are not tracked."""
        marks = [
            {"waited": ObjectId(), "trackedAt": level["updatedAt"]} if wanted else {} for level in levels
        ]
        if levels:
            fresh = [_fresh(level) | mark for level, mark in zip(levels, marks, strict=True)]
            self._levels.insert_many(fresh, session=transaction)

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
                _arriving(delta, at)
                if delta > 0
                else {"$inc": {"onHand": delta, "version": 1}, "$set": {"updatedAt": at}},
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

    @contextmanager
    def moment(self) -> Iterator[Transaction]:
        """A session whose reads all show the same moment."""
        with self._levels.database.client.start_session(snapshot=True) as moment:
            yield moment

    def held(self, product_ids: Sequence[str], transaction: Transaction) -> dict[str, int]:
        """The quantity of each product that orders have taken with which they are not confirmed yet."""
        condition, held = {"$in": list(product_ids)}, dict.fromkeys(product_ids, 0)
        ids = [
            str(order["_id"])
            for holding, index in _HOLDING
            for order in self._orders.find(
                {**holding, "products.productId": condition}, {"_id": 1}, session=transaction
            ).hint(index)
        ]
        if ids:
            taken = {"orderId": {"$in": ids}, "productId": condition}
            for row in self._movements.find(taken, {"productId": 1, "quantity": 1}, session=transaction):
                held[row["productId"]] -= row["quantity"]
        return held

    def movements(self, product_id: str, after: str | None, limit: int) -> list[Movement]:
        """Up to `limit + 1` movements of a product, newest first."""
        condition: Document = {"productId": product_id}
        if after is not None:
            condition["_id"] = {"$lt": ObjectId(after)}
        found = self._movements.find(condition).sort("_id", -1).limit(limit + 1)
        return [to_record(document) for document in found]


def _arriving(delta: int, at: datetime) -> list[Document]:
    """The update for stock that comes. It marks the product if orders wait for it."""
    is_waited_for = {"$ne": [{"$type": "$waited"}, "missing"]}
    moved = {name: {"$add": [f"${name}", change]} for name, change in (("onHand", delta), ("version", 1))}
    mark = {"$cond": [is_waited_for, ObjectId(), "$$REMOVE"]}
    return [{"$set": {**moved, "updatedAt": at, "came": mark}}]


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
