"""Erases a customer's personal data, everything except the user id, from the database for good.

The personal data and the texts of notes are in the orders, beside their logs. The digests of bodies with an
idempotency key are erased, too, because the texts could be guessed from them. The database also has rejected
orders of the original service, which can contain anything, so all of their fields are erased.
"""

from datetime import datetime
from itertools import islice

from bson import ObjectId
from pymongo.database import Database

from app.mongo.database import Document
from app.mongo.outages import reports_outages
from app.orders.beside_store import NO_BODY
from app.orders.query_store import LIVE

# Each condition uses its own index. An order can move from the first to the second, and never back.
_PLACES: tuple[Document, ...] = (LIVE, {"deletedAt": {"$exists": True}})

# The previous release erases the data without the key by email.
_HOLDING: Document = {
    "$or": [{field: {"$exists": True}} for field in ("personal", "emailKey", "noteTexts.0")],
}
_ERASED = {"digest": NO_BODY}
# One update, so that no order counts as erased while a part of it is left.
_ERASE: Document = {
    "idempotency": {
        "$cond": [
            {"$eq": [{"$type": "$idempotency"}, "object"]},
            {"$mergeObjects": ["$idempotency", _ERASED]},
            "$$REMOVE",
        ]
    },
    "commandKeys": {
        "$cond": [
            {"$isArray": "$commandKeys"},
            {"$map": {"input": "$commandKeys", "in": {"$mergeObjects": ["$$this", _ERASED]}}},
            "$$REMOVE",
        ]
    },
    "personal": "$$REMOVE",
    "emailKey": "$$REMOVE",
    "noteTexts": "$$REMOVE",
}


@reports_outages
class PersonalData:
    """Finds and erases a customer's personal data. Each method is safe to repeat and to interrupt."""

    def __init__(self, database: Database[Document]) -> None:
        self._orders = database["orders"]
        self._rejects = database["legacy_rejects"]

    def erase_from_orders(self, user_id: str, at: datetime, batch: int) -> int:
        """Erases the data from all stored orders of the customer, even deleted ones. Returns their number."""
        return sum(self._erase(place, user_id, at, batch) for place in _PLACES)

    def erase_from_rejects(self, user_id: str, at: datetime) -> int:
        """Erases everything except the customer's id from the rejected orders of the original service."""
        ids: list[str | ObjectId] = [user_id, *([ObjectId(user_id)] if ObjectId.is_valid(user_id) else [])]
        result = self._rejects.update_many(
            {"document.userId": {"$in": ids}, "erasedAt": {"$exists": False}},
            {"$set": {"document": {"userId": user_id}, "erasedAt": at}},
        )
        return result.modified_count

    def _erase(self, place: Document, user_id: str, at: datetime, batch: int) -> int:
        erased = 0
        holding = self._orders.find({**place, "userId": user_id, **_HOLDING}, {"_id": 1})
        while ids := [order["_id"] for order in islice(holding, batch)]:
            known: Document = {"_id": {"$in": ids}, **_HOLDING}
            erasure = [{"$set": {**_ERASE, "erasedAt": at}}]
            erased += self._orders.update_many(known, erasure).modified_count
        return erased
