"""The endpoints that webhooks go to."""

import secrets
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from app.mongo.database import Document
from app.mongo.documents import insert_if_new, to_document, to_record
from app.mongo.outages import reports_outages
from app.webhooks.model import IDS, MOST_TESTS, TEST_WINDOW, Endpoint, Secret, SentTest


@reports_outages
class WebhookEndpoints:
    """Few documents, each changed by single atomic updates."""

    _seen: Document

    def __init__(self, database: Database[Document]) -> None:
        self._seen = {}
        self._collection = database["webhook_endpoints"]
        self._newest = self._collection.with_options(read_concern=ReadConcern("local"))

    def of(self, owner: str) -> "WebhookEndpoints":
        """The same endpoints as a caller sees them that may see ids alone: its own, without those in full."""
        narrowed = copy(self)
        narrowed._seen = {"owner": owner, "payload": IDS}
        return narrowed

    def add(self, endpoint: Endpoint, most: int) -> bool:
        """Stores a new endpoint; False where there are `most` already.

        Every endpoint holds a slot of its own, by a unique index. So the bound holds for any number of calls
        at once.
        """
        document = to_document(endpoint, ObjectId)
        while True:
            # The newest data of the primary: the slot that the index refuses shows here.
            there = list(self._newest.find({}, {"_id": 0, "slot": 1}))
            free = set(range(1, most + 1)) - {found.get("slot") for found in there}
            if len(there) >= most or not free:
                return False
            # At random, because all concurrent calls would try the first free slot.
            if insert_if_new(self._collection, {**document, "slot": secrets.choice(sorted(free))}):
                return True

    def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint; None where there is none."""
        if not ObjectId.is_valid(endpoint_id):
            return None
        return to_record(self._collection.find_one({"_id": ObjectId(endpoint_id), **self._seen}))

    def page(self, after: str | None, limit: int) -> list[Endpoint]:
        """Up to `limit + 1` endpoints, newest first."""
        condition = {"_id": {"$lt": ObjectId(after)}} if after is not None else {}
        condition |= self._seen
        found = self._collection.find(condition).sort("_id", -1).limit(limit + 1)
        return [to_record(document) for document in found]

    def enabled(self) -> list[Endpoint]:
        """Those that webhooks go to now."""
        found = self._collection.find({"enabled": True})
        return [to_record(document) for document in found]

    def change(self, endpoint_id: str, fields: Mapping[str, Any], at: datetime) -> Endpoint | None:
        """The endpoint with these fields; None where there is none. Enabling it takes the reason away."""
        if not ObjectId.is_valid(endpoint_id):
            return None
        update: Document = {"$set": {**fields, "updatedAt": at}}
        if fields.get("enabled"):
            update["$unset"] = {"disabledReason": ""}
        return to_record(
            self._collection.find_one_and_update(
                {"_id": ObjectId(endpoint_id), **self._seen}, update, return_document=ReturnDocument.AFTER
            )
        )

    def disable_at(self, url: str, endpoint: Endpoint, reason: str, at: datetime) -> bool:
        """Disables the endpoint unless it has another URL by now; whether it did."""
        fields = {"enabled": False, "disabledReason": reason, "updatedAt": at}
        changed = self._collection.update_one(
            {"_id": ObjectId(endpoint["id"]), "url": url, "enabled": True}, {"$set": fields}
        )
        return changed.matched_count == 1

    def note_test(self, endpoint: Endpoint, test: SentTest) -> Endpoint | None:
        """Counts a test event; the endpoint as it was before.

        None where it got MOST_TESTS within TEST_WINDOW, or is not there.
        """
        oldest = f"tests.{MOST_TESTS - 1}"
        may = [{oldest: {"$exists": False}}, {f"{oldest}.at": {"$lte": test["at"] - TEST_WINDOW}}]
        return to_record(
            self._collection.find_one_and_update(
                {"_id": ObjectId(endpoint["id"]), "$or": may},
                {"$push": {"tests": {"$each": [test], "$position": 0, "$slice": MOST_TESTS}}},
            )
        )

    def replace_secrets(self, endpoint: Endpoint, fresh: Sequence[Secret], at: datetime) -> Endpoint | None:
        """The endpoint with these secrets; None if its secrets are not those given any more."""
        return to_record(
            self._collection.find_one_and_update(
                {"_id": ObjectId(endpoint["id"]), "secrets": endpoint["secrets"]},
                {"$set": {"secrets": list(fresh), "updatedAt": at}},
                return_document=ReturnDocument.AFTER,
            )
        )

    def remove(self, endpoint_id: str) -> bool:
        """Forgets the endpoint; False where there is none."""
        if not ObjectId.is_valid(endpoint_id):
            return False
        return self._collection.delete_one({"_id": ObjectId(endpoint_id), **self._seen}).deleted_count == 1
