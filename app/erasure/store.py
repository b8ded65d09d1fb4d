"""The one way in which what is known of a customer, beside the id, leaves the database for good.

It stands in the orders, beside their logs. What an idempotency key was used with is kept as a digest of the
whole body, which with little else unknown could be guessed at, so that digest goes too. And what the original
service stored of an order that could not be taken over is kept as it was, whatever that may be.
"""

from datetime import datetime
from itertools import islice

from bson import ObjectId
from pymongo.database import Database

from app.mongo.database import Document
from app.mongo.outages import reports_outages
from app.orders.query_store import LIVE

# The digest of no body. Its key stays used, and every body that comes with it counts as another.
NO_BODY = "0" * 64
# Each goes by an index of its own. An order is moved from the first to the second, and never back.
_PLACES: tuple[Document, ...] = (LIVE, {"deletedAt": {"$exists": True}})

_HOLDING: Document = {"personal": {"$exists": True}}


@reports_outages
class PersonalData:
    """Finds and erases what is known of a customer; all of it safe to repeat and to cut off."""

    def __init__(self, database: Database[Document]) -> None:
        self._orders = database["orders"]
        self._rejects = database["legacy_rejects"]

    def erase_from_orders(self, user_id: str, at: datetime, batch: int) -> int:
        """Erases from every order of the customer stored by now, deleted or not; says from how many."""
        return sum(self._erase(place, user_id, at, batch) for place in _PLACES)

    def erase_from_rejects(self, user_id: str, at: datetime) -> int:
        """Erases all but the customer's id from the original orders that were not taken over."""
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
            # The digest first: an order counts as erased once its personal data are gone.
            self._orders.update_many(
                {**known, "idempotency": {"$exists": True}}, {"$set": {"idempotency.digest": NO_BODY}}
            )
            erasure: Document = {"$unset": {"personal": ""}, "$set": {"erasedAt": at}}
            erased += self._orders.update_many(known, erasure).modified_count
        return erased
