"""The endpoints that webhooks go to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.database import Database

from app.domain.webhooks import Endpoint, Secret
from app.storage.database import Document, reachable


class WebhookEndpoints:
    """Few documents, each changed by single atomic updates."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["webhook_endpoints"]

    def add(self, endpoint: Endpoint) -> None:
        """Stores a new endpoint."""
        document: Any = {"_id": ObjectId(endpoint["id"]), **endpoint}
        del document["id"]
        with reachable():
            self._collection.insert_one(document)

    def count(self) -> int:
        """How many there are."""
        with reachable():
            return self._collection.estimated_document_count()

    def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint; None where there is none."""
        if not ObjectId.is_valid(endpoint_id):
            return None
        with reachable():
            return _endpoint(self._collection.find_one({"_id": ObjectId(endpoint_id)}))

    def page(self, after: str | None, limit: int) -> list[Endpoint]:
        """Up to `limit + 1` endpoints, newest first."""
        condition = {"_id": {"$lt": ObjectId(after)}} if after is not None else {}
        with reachable():
            found = self._collection.find(condition).sort("_id", -1).limit(limit + 1)
            return [endpoint for document in found if (endpoint := _endpoint(document))]

    def enabled(self) -> list[Endpoint]:
        """Those that webhooks go to now."""
        with reachable():
            found = self._collection.find({"enabled": True})
            return [endpoint for document in found if (endpoint := _endpoint(document))]

    def change(self, endpoint_id: str, fields: Mapping[str, Any], at: datetime) -> Endpoint | None:
        """The endpoint with these fields; None where there is none. Enabling it takes the reason away."""
        if not ObjectId.is_valid(endpoint_id):
            return None
        update: Document = {"$set": {**fields, "updatedAt": at}}
        if fields.get("enabled"):
            update["$unset"] = {"disabledReason": ""}
        with reachable():
            return _endpoint(
                self._collection.find_one_and_update(
                    {"_id": ObjectId(endpoint_id)}, update, return_document=ReturnDocument.AFTER
                )
            )

    def disable_at(self, url: str, endpoint: Endpoint, reason: str, at: datetime) -> bool:
        """Disables the endpoint unless it has another URL by now; whether it did."""
        fields = {"enabled": False, "disabledReason": reason, "updatedAt": at}
        with reachable():
            changed = self._collection.update_one(
                {"_id": ObjectId(endpoint["id"]), "url": url, "enabled": True}, {"$set": fields}
            )
        return changed.matched_count == 1

    def replace_secrets(self, endpoint: Endpoint, secrets: Sequence[Secret], at: datetime) -> Endpoint | None:
        """The endpoint with these secrets; None if its secrets are not those given any more."""
        with reachable():
            return _endpoint(
                self._collection.find_one_and_update(
                    {"_id": ObjectId(endpoint["id"]), "secrets": endpoint["secrets"]},
                    {"$set": {"secrets": list(secrets), "updatedAt": at}},
                    return_document=ReturnDocument.AFTER,
                )
            )

    def remove(self, endpoint_id: str) -> bool:
        """Forgets the endpoint; False where there is none."""
        if not ObjectId.is_valid(endpoint_id):
            return False
        with reachable():
            return self._collection.delete_one({"_id": ObjectId(endpoint_id)}).deleted_count == 1


def _endpoint(document: Document | None) -> Endpoint | None:
    if document is not None:
        document["id"] = str(document.pop("_id"))
    return document  # type: ignore[return-value]
