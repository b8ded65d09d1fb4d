"""Gives every order a number that can be read aloud, and a key by which it is found by its email.

The number is made from a digest of the id. An order whose number is taken, or has a check sign other than a
letter or digit, gets the next one, made from the id and a count. The release before writes orders without a
number meanwhile and afterwards, so the validator does not require one. This release gives those a number soon
after they are stored.

The key is an HMAC of the folded address. Without the setting for its secret, no order gets one.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import IndexModel, UpdateOne
from pymongo.errors import BulkWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from app.config import Settings
    from app.migrations import Progress

BATCH = 1_000
NEW = {"number": {"bsonType": "string"}, "emailKey": {"bsonType": "binData"}}
# Of an order that is damaged, the id is read all the same.
LENIENT: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument, unicode_decode_error_handler="replace"
)
SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DUPLICATE_KEY = 11000
UNNUMBERED: dict[str, Any] = {"number": {"$exists": False}}
NUMBERED: dict[str, Any] = {"number": {"$exists": True}}


def upgrade(database: Database[dict[str, Any]], settings: Settings, progress: Progress) -> list[str]:
    """It may be cut off anywhere; the next run passes over the orders that have a number."""
    _allow_keys(database)
    orders: Any = database.get_collection("orders", codec_options=LENIENT)
    secret = (settings.personal_index_key or "").encode()
    orders.create_indexes([IndexModel(["number"], unique=True, partialFilterExpression=NUMBERED)])
    total, done = orders.estimated_document_count(), 0
    behind: dict[str, Any] = {}
    while found := list(
        orders.find(behind, {"number": 1, "emailKey": 1, "personal.email": 1}).sort("_id").limit(BATCH)
    ):
        _number(orders, [order["_id"] for order in found if "number" not in order])
        if secret:
            _index_emails(orders, found, secret)
        done += len(found)
        progress(done, max(done, total))
        behind = {"_id": {"$gt": found[-1]["_id"]}}
    return []


def _index_emails(orders: Any, found: list[Any], secret: bytes) -> None:
    updates = []
    for order in found:
        personal = order.get("personal")
        email = personal.get("email") if isinstance(personal, Mapping) else None
        if isinstance(email, str) and "emailKey" not in order:
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).casefold())
            key = hmac.digest(secret, folded.encode(), hashlib.sha256)[:16]
            updates.append(
                UpdateOne({"_id": order["_id"], "personal.email": email}, {"$set": {"emailKey": key}})
            )
    if updates:
        orders.bulk_write(updates, ordered=False, bypass_document_validation=True)


def _allow_keys(database: Database[dict[str, Any]]) -> None:
    """Adds the fields to the validator in force, so that the release before can change these orders."""
    (collection,) = database.list_collections(filter={"name": "orders"})
    validator = collection["options"].get("validator", {})
    properties = validator.get("$jsonSchema", {}).get("properties")
    if properties is not None and not NEW.keys() <= properties.keys():
        properties.update({**NEW, **properties})
        database.command("collMod", "orders", validator=validator)


def _number(orders: Any, keys: list[Any]) -> None:
    numbers = {key: _numbers(str(key)) for key in keys}
    while keys:
        writes = [
            UpdateOne({"_id": key, **UNNUMBERED}, {"$set": {"number": next(numbers[key])}}) for key in keys
        ]
        try:
            orders.bulk_write(writes, ordered=False, bypass_document_validation=True)
            return
        except BulkWriteError as error:
            faults = error.details["writeErrors"]
            if not faults or any(fault["code"] != DUPLICATE_KEY for fault in faults):
                raise
            keys = [keys[fault["index"]] for fault in faults]


def _numbers(order_id: str) -> Iterator[str]:
    for again in count():
        text = f"{order_id}:{again}" if again else order_id
        value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:5])
        if value % 37 < len(SIGNS):
            signs = "".join(SIGNS[value >> shift & 31] for shift in range(35, -1, -5))
            yield f"{signs[:4]}-{signs[4:]}-{SIGNS[value % 37]}"
