"""Records as documents, and inserts that leave documents with the same key as they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, WriteError

from app.mongo.database import Document
from app.mongo.outages import PASSING

DUPLICATE_KEY = 11000


def to_document(record: Mapping[str, Any], key: Callable[[str], Any] = str) -> Document:
    """The record with `_id` in place of `id`; `key` gives the id the type that is stored."""
    return {"_id": key(record["id"]), **{name: value for name, value in record.items() if name != "id"}}


def to_record(document: Document | None) -> Any:
    """The document with `id`, a text, in place of `_id`, changed in place; None for None."""
    if document is not None:
        document["id"] = str(document.pop("_id"))
    return document


def insert_if_new(collection: Collection[Document], document: Document) -> bool:
    """Inserts the document; False if its key is taken."""
    try:
        collection.insert_one(document)
    except DuplicateKeyError:
        return False
    return True


def insert_new(collection: Collection[Document], documents: Sequence[Document]) -> None:
    """Inserts the documents whose keys are free. Raises WriteError if the database refuses one of them."""
    for position, code in insert_each(collection, documents).items():
        if code != DUPLICATE_KEY:
            raise WriteError(f"The database refused document {position} of {collection.name}.", code)


def insert_each(collection: Collection[Document], documents: Sequence[Document]) -> dict[int, int]:
    """Inserts as many of the documents as possible; the error codes of the others, by their positions."""
    if not documents:
        return {}
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if error.details.get("writeConcernErrors"):
            # Even a key that is taken may be gone after a failover.
            raise ConnectionFailure("the insert was not confirmed") from error
        codes = {fault["index"]: fault["code"] for fault in error.details["writeErrors"]}
        if not PASSING.isdisjoint(codes.values()):
            raise
        return codes
    return {}
