"""Notes on each row of the feed whose it is, and stores metadata so that it cannot be read as anything else.

A row of an order that is gone gets an owner that no user can be: the empty text. A map of metadata with a
name that begins with `$` becomes a list of pairs. The server does that by itself, since the driver reads some
of these maps as references. All other orders stay as they are, so the release before reads them.

The key for the cursors of the feed is made here, so that it is known how far the cursors of the release
before can lead.
"""

from __future__ import annotations

from secrets import token_bytes
from typing import TYPE_CHECKING, Any

from bson import CodecOptions
from bson.codec_options import DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import IndexModel, UpdateMany

if TYPE_CHECKING:
    from pymongo.database import Database

    from app.config import Settings
    from app.migrations import Progress

BATCH = 1_000
NOBODY = ""
UNOWNED: dict[str, Any] = {"userId": None}
OWNED = ["userId", "_id"]
# Of an order that is damaged, the owner is read all the same.
LENIENT: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)

METADATA = "$personal.metadata"
PAIRS: dict[str, Any] = {
    "$cond": [{"$eq": [{"$type": METADATA}, "object"]}, {"$objectToArray": METADATA}, []]
}
IS_RESERVED: dict[str, Any] = {"$eq": [{"$substrCP": ["$$this.k", 0, 1]}, {"$literal": "$"}]}
RESERVED: dict[str, Any] = {"$expr": {"$anyElementTrue": [{"$map": {"input": PAIRS, "in": IS_RESERVED}}]}}
TO_PAIRS: dict[str, Any] = {
    "personal.metadata": {"$map": {"input": PAIRS, "in": {"name": "$$this.k", "value": "$$this.v"}}}
}


def upgrade(database: Database[dict[str, Any]], settings: Settings, progress: Progress) -> list[str]:
    """Each part may be cut off anywhere; the next run finds what is left."""
    _make_key(database)
    _note_owners(database, progress)
    adopted = _store_as_pairs(database, progress)
    return [f"stored the metadata of {adopted} orders as pairs"] if adopted else []


def _make_key(database: Database[dict[str, Any]]) -> None:
    last = database["feed"].find_one({}, {"_id": 1}, sort=[("_id", -1)])
    made = {"key": token_bytes(32), "openUntil": last["_id"] if last else 0}
    database["feed_cursors"].update_one({"_id": "feed"}, {"$setOnInsert": made}, upsert=True)


def _note_owners(database: Database[dict[str, Any]], progress: Progress) -> None:
    feed = database["feed"]
    orders: Any = database.get_collection("orders", codec_options=LENIENT)
    feed.create_indexes([IndexModel(OWNED)])
    total, done, after = feed.count_documents(UNOWNED), 0, 0
    while rows := list(
        feed.find({**UNOWNED, "_id": {"$gt": after}}, {"orderId": 1}).sort("_id").limit(BATCH)
    ):
        owners = dict.fromkeys((row["orderId"] for row in rows), NOBODY)
        for order in orders.find({"_id": {"$in": list(owners)}}, {"userId": 1}):
            if isinstance(order.get("userId"), str):
                owners[order["_id"]] = order["userId"]
        updates = [
            UpdateMany({"orderId": order_id, **UNOWNED}, {"$set": {"userId": owner}})
            for order_id, owner in owners.items()
        ]
        done += feed.bulk_write(updates, ordered=False, bypass_document_validation=True).modified_count
        after = rows[-1]["_id"]
        progress(done, max(done, total))


def _store_as_pairs(database: Database[dict[str, Any]], progress: Progress) -> int:
    orders = database["orders"]
    total, done, adopted = orders.estimated_document_count(), 0, 0
    behind: dict[str, Any] = {}
    while ids := [found["_id"] for found in orders.find(behind, {"_id": 1}).sort("_id").limit(BATCH)]:
        among = {"_id": {"$gte": ids[0], "$lte": ids[-1]}}
        written = orders.update_many(
            {**among, **RESERVED}, [{"$set": TO_PAIRS}], bypass_document_validation=True
        )
        adopted += written.modified_count
        done += len(ids)
        progress(done, max(done, total))
        behind = {"_id": {"$gt": ids[-1]}}
    return adopted
