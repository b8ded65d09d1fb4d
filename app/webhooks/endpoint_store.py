"""The endpoints of webhooks."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from app.mongo.database import Document
from app.mongo.documents import insert_if_new, to_document, to_record
from app.mongo.outages import reports_outages
from app.webhooks.model import IDS, MOST_TESTS, TEST_WINDOW, Endpoint, Secret, SentTest


@reports_outages
class WebhookEndpoints:
    """Stores a small number of endpoints. Each change is one atomic update."""

    def __init__(self, database: Database[Document], owner: str | None = None) -> None:
        self._database = database
        self._visible: Document = {} if owner is None else {"owner": owner, "payload": IDS}

    def of(self, owner: str) -> "WebhookEndpoints":
        """The same store, limited to the caller's own endpoints that get only ids."""
        return WebhookEndpoints(self._database, owner)

    def add(self, endpoint: Endpoint, most: int) -> bool:
        """Stores a new endpoint. False if `most` endpoints exist already.

        Each endpoint has its own slot, by a unique index. So the limit holds for any number of concurrent
        calls.
        """
        document = to_document(endpoint, ObjectId)
        # The newest data of the primary, so it includes a slot that the index refuses.
        newest = self._collection.with_options(read_concern=ReadConcern("local"))
        while True:
            there = list(newest.find({}, {"_id": 0, "slot": 1}))
            free = set(range(1, most + 1)) - {found.get("slot") for found in there}
            if len(there) >= most or not free:
                return False
            # The slot is random, because concurrent calls would all try the first free one.
            if insert_if_new(self._collection, {**document, "slot": secrets.choice(sorted(free))}):
                return True

    def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint; None if it does not exist."""
        if not ObjectId.is_valid(endpoint_id):
            return None
        return to_record(self._collection.find_one({"_id": ObjectId(endpoint_id), **self._visible}))

    def page(self, after: str | None, limit: int) -> list[Endpoint]:
        """Up to `limit + 1` endpoints, newest first."""
        condition = {"_id": {"$lt": ObjectId(after)}} if after is not None else {}
        condition |= self._visible
        found = self._collection.find(condition).sort("_id", -1).limit(limit + 1)
        return [to_record(document) for document in found]

    def enabled(self) -> list[Endpoint]:
        """The enabled endpoints."""
        found = self._collection.find({"enabled": True})
        return [to_record(document) for document in found]

    def change(self, endpoint_id: str, fields: Mapping[str, Any], at: datetime) -> Endpoint | None:
        """Sets the fields and returns the endpoint; None if it does not exist. Enabling removes
        `disabledReason`."""
        if not ObjectId.is_valid(endpoint_id):
            return None
        update: Document = {"$set": {**fields, "updatedAt": at}}
        if fields.get("enabled"):
            update["$unset"] = {"disabledReason": ""}
        return to_record(
            self._collection.find_one_and_update(
                {"_id": ObjectId(endpoint_id), **self._visible}, update, return_document=ReturnDocument.AFTER
            )
        )

    def disable_at(self, url: str, endpoint: Endpoint, reason: str, at: datetime) -> bool:
        """Disables the endpoint, unless its URL has changed. Returns whether it did."""
        fields = {"enabled": False, "disabledReason": reason, "updatedAt": at}
        changed = self._collection.update_one(
            {"_id": ObjectId(endpoint["id"]), "url": url, "enabled": True}, {"$set": fields}
        )
        return changed.matched_count == 1

    def note_test(self, endpoint: Endpoint, test: SentTest) -> Endpoint | None:
        """Counts a test event, and returns the endpoint as it was before.

        None if the endpoint had MOST_TESTS within TEST_WINDOW, or does not exist.
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
        """Replaces the secrets and returns the endpoint; None if its secrets have changed meanwhile."""
        return to_record(
            self._collection.find_one_and_update(
                {"_id": ObjectId(endpoint["id"]), "secrets": endpoint["secrets"]},
                {"$set": {"secrets": list(fresh), "updatedAt": at}},
                return_document=ReturnDocument.AFTER,
            )
        )

    def remove(self, endpoint_id: str) -> bool:
        """Removes the endpoint. False if it does not exist."""
        if not ObjectId.is_valid(endpoint_id):
            return False
        return self._collection.delete_one({"_id": ObjectId(endpoint_id), **self._visible}).deleted_count == 1

    @cached_property
    def _collection(self) -> Collection[Document]:
        # Most requests do not use it, and each makes a store for its user.
        return self._database["webhook_endpoints"]
