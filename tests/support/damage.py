"""Ways in which the document of an order can be damaged, past the service and its validators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import DBRef, ObjectId
from bson.datetime_ms import DatetimeMS

if TYPE_CHECKING:
    from pymongo.database import Database

# A time that Python does not have; so the driver cannot decode the document.
NO_TIME = DatetimeMS(2**60)
# Changes of a document after which it cannot be decoded.
UNDECODABLE: dict[str, dict[str, Any]] = {
    "a time that Python does not have": {"$set": {"updatedAt": NO_TIME}},
    "personal data that are no map": {"$set": {"personal": 5}},
    "metadata that are no pairs": {"$set": {"personal.metadata": [{"name": "a"}]}},
}
# Changes after which it decodes, but is no order.
MALFORMED: dict[str, dict[str, Any]] = {
    "no payment": {"$unset": {"payment": ""}},
    "lines of another type": {"$set": {"products": "many"}},
    "an unknown currency": {"$set": {"currency": "???"}},
    "a value that JSON does not have": {"$set": {"stock.shortages": [ObjectId()]}},
    "a reference in the place of an amount": {"$set": {"totalAmount": DBRef("a", "b")}},
}
DAMAGES = {**UNDECODABLE, **MALFORMED}
# After this change, the validator refuses the order, and no change can be added to it.
NO_EVENTS: dict[str, Any] = {"$set": {"events": []}}
# Changes of the log, which lists do not read.
OF_THE_LOG: dict[str, dict[str, Any]] = {
    "a time that Python does not have, in an event": {"$set": {"events.0.at": NO_TIME}},
    "an event of an unknown type": {"$set": {"events.1.type": "order.flown"}},
    "an event without data": {"$unset": {"events.0.data": ""}},
    "an event whose data are no order": {"$set": {"events.0.data.products": ObjectId()}},
    "no events": {"$unset": {"events": ""}},
}


def damage(database: Database[Any], order_id: str, change: dict[str, Any] = NO_EVENTS) -> None:
    """Changes the document of an order, whatever the validator says."""
    damage_document(database, "orders", ObjectId(order_id), change)


def damage_document(database: Database[Any], collection: str, key: Any, change: dict[str, Any]) -> None:
    """Changes the document with this key, whatever the validator says."""
    done = database[collection].update_one({"_id": key}, change, bypass_document_validation=True)
    assert done.modified_count == 1
