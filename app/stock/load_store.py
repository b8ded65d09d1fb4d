"""Stock loads that are too large for one transaction. A load is stored until its last part is applied."""

import json
import zlib
from collections.abc import Iterable
from datetime import datetime

from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import DocumentTooLarge

from app.errors import OrderServiceError
from app.mongo.database import Document, Transaction
from app.mongo.outages import reports_outages


class LoadTooLarge(OrderServiceError):
    """The levels do not fit into one document, even compressed."""


@reports_outages
class StockLoads:
    """Stores one document per load. Once it is written, the whole load will be applied."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["stock_loads"]

    def begin(self, parts: Iterable[dict[str, int]], at: datetime) -> str:
        """Records a load. Each part has levels by product. Raises LoadTooLarge."""
        packed = [zlib.compress(json.dumps(part).encode()) for part in parts]
        document: Document = {"_id": ObjectId(), "at": at, "parts": packed}
        try:
            self._collection.insert_one(document)
        except DocumentTooLarge as error:
            raise LoadTooLarge("These are too many levels at once; split the file.") from error
        return str(document["_id"])

    def unfinished(self) -> list[str]:
        """The ids of unfinished loads, oldest first."""
        return [str(document["_id"]) for document in self._collection.find({}, {"_id": 1}).sort("_id")]

    def take(self, load_id: str, transaction: Transaction) -> dict[str, int] | None:
        """Removes the next part from a load and returns it; None after the last part.

        The same transaction has to apply it.
        """
        found = self._collection.find_one_and_update(
            {"_id": ObjectId(load_id), "parts.0": {"$exists": True}},
            {"$pop": {"parts": -1}},
            projection={"parts": {"$slice": 1}},
            session=transaction,
        )
        if found is None:
            self._collection.delete_one({"_id": ObjectId(load_id)}, session=transaction)
            return None
        part: dict[str, int] = json.loads(zlib.decompress(found["parts"][0]))
        return part
