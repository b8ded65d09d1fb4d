"""The whole content of a database, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.database import Database

_RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)


def snapshot(database: Database[dict[str, Any]]) -> dict[str, list[bytes]]:
    """The documents of every collection as they are stored, sorted by id."""
    return {
        name: [found.raw for found in database.get_collection(name, codec_options=_RAW).find().sort("_id")]
        for name in sorted(database.list_collection_names())
        if not name.startswith("system.")
    }


def restore(database: Database[dict[str, Any]], documents: Mapping[str, list[bytes]]) -> None:
    """Gives these collections the content that they had, valid or not."""
    for name, stored in documents.items():
        collection = database[name]
        collection.delete_many({})
        if stored:
            raw: Any = [RawBSONDocument(document) for document in stored]
            collection.insert_many(raw, bypass_document_validation=True)
