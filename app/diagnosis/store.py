"""The orders that may have a state, found by indexes. The diagnosis of each decides."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from heapq import merge
from itertools import groupby, islice

from bson import ObjectId
from pymongo.database import Database

from app.mongo.database import Document
from app.mongo.outages import reports_outages
from app.orders.query_store import LIVE

_OWING: Document = {"dueBy": {"$gt": datetime.min.replace(tzinfo=UTC)}}
# Without this hint, the server may walk all orders to avoid a sort.
_BY_DEADLINE = [("dueBy", 1), ("_id", 1)]
_BACKORDERED: Document = {"stock.status": "backordered"}
_FAILED_REFUND: Document = {"refunds.status": "failed"}


def _in_status(status: str) -> Document:
    return {**LIVE, "status": status}


# What every order in a state matches one of. The first condition reads the entries of all orders that owe a
# step, and no document.
_SOURCES: Mapping[str, Sequence[Document]] = {
    "done": (_in_status("delivered"), _in_status("cancelled")),
    "working": (_OWING,),
    "waiting": (_OWING, _BACKORDERED, _in_status("confirmed"), _in_status("shipped")),
    "blocked": ({"holds.blocks": "capture"}, {"holds.blocks": "ship"}),
    "stuck": (_OWING, _FAILED_REFUND),
}


@reports_outages
class Candidates:
    """Finds the ids of orders that may have a state. Some of them may be deleted."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["orders"]

    def of(self, state: str, after: str | None, limit: int) -> list[str]:
        """Up to `limit` ids after the id `after`, the oldest order first."""
        bounds: Document = {"_id": {"$gt": ObjectId(after)}} if after else {}
        found = (
            self._collection.find(
                {**source, **bounds}, {"_id": 1}, hint=_BY_DEADLINE if source is _OWING else None
            )
            .sort("_id")
            .limit(limit)
            for source in _SOURCES[state]
        )
        ids = merge(*([str(document["_id"]) for document in documents] for documents in found))
        return list(islice((order_id for order_id, _ in groupby(ids)), limit))
