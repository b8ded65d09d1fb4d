"""Reads every ledger in ranges of order ids, so that all records of an order come together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from bson import ObjectId
from pymongo.database import Database

from app.mongo.database import Document, Transaction
from app.mongo.documents import insert_new
from app.mongo.outages import reports_outages
from app.orders.documents_store import OrderDocuments
from app.orders.model import Order
from app.payments.model import ProviderPayment
from app.reconciliation.records import OrderRecords, Recorded, Row
from app.reconciliation.report import Scope

_STAGING = "reconciliation_payments_"
_ORDER: Document = {"idempotency": 0, "quote": 0, "refundKeys": 0, "commandKeys": 0}
# The fields of an order that are compared with the stock ledger and with the provider's payments.
_COMPARED: Document = dict.fromkeys(
    ("products", "totalAmount", "currency", "status", "payment", "stock", "refunds", "cancellations",
     "returns", "version", "updatedAt", "dueBy", "attempts"),
    1,
)  # fmt: skip
_COMPARED |= {"events.type": 1, "events.at": 1}
# What brought the pieces of a movement back.
_BACK = ("refundId", "line", "returnId", "receipt", "cancellationId")
_MOVED: Document = {"_id": 0, **dict.fromkeys(("orderId", "productId", "quantity", "kind", *_BACK), 1)}
_RECORDED: Document = {"orderId": 1, "sequence": 1, "type": 1}


class Levels(NamedTuple):
    """Some levels by product, the sums of their movements, and the last product where there are more."""

    levels: dict[str, int]
    sums: dict[str, int]
    last: str | None


@reports_outages
class Audit:
    """Reads across the collections. Writes only the staging collections of payments."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._orders = OrderDocuments(database)

    def count(self, after: str, until: str) -> int:
        """The number of orders after the first id, up to and including the second."""
        return self._database["orders"].count_documents(_between(ObjectId(after), ObjectId(until), "_id"))

    def read_range(
        self, after: str, until: str, limit: int, scopes: Sequence[Scope], report_id: str
    ) -> tuple[list[OrderRecords], str]:
        """All records about the next `limit` orders after the first id, up to the second, or about ids
        between them that have no order; and the last id covered."""
        orders = self._orders.find(
            _between(ObjectId(after), ObjectId(until), "_id"),
            _ORDER if "orders" in scopes else _COMPARED,
            sort=[("_id", 1)],
            limit=limit,
        )
        last = orders[-1]["id"] if len(orders) == limit else until
        grouped = _RecordsByOrder(orders)
        if "payments" in scopes:
            staged = self._staging(report_id)
            grouped.put_payments(staged.find(_between(f"{after};", f"{last};", "_id")))
        if "stock" in scopes:
            grouped.put_movements(self._movements(_between(after, last, "orderId")))
        if "orders" in scopes:
            keys = _between(f"{after};", f"{last};", "_id")
            grouped.put_recorded("notifications", self._recorded("notifications", keys))
            among = _between(after, last, "orderId")
            grouped.put_recorded("deliveries", self._recorded("webhook_deliveries", among))
            grouped.put_feed(
                self._database["feed"].find(_between(ObjectId(after), ObjectId(last), "orderId"))
            )
        return grouped.all(), last

    def read(self, order_ids: Sequence[str], scopes: Iterable[Scope]) -> dict[str, OrderRecords]:
        """All records about these orders but their payments, read now."""
        keys = {"$in": [ObjectId(order_id) for order_id in order_ids]}
        among = {"orderId": {"$in": list(order_ids)}}
        grouped = _RecordsByOrder(self._orders.find({"_id": keys}, _ORDER), order_ids)
        if "stock" in scopes:
            grouped.put_movements(self._movements(among))
        if "orders" in scopes:
            for order_id in order_ids:
                keyed = _between(f"{order_id}:", f"{order_id};", "_id")
                grouped.put_recorded("notifications", self._recorded("notifications", keyed))
            grouped.put_recorded("deliveries", self._recorded("webhook_deliveries", among))
            grouped.put_feed(self._database["feed"].find({"orderId": keys}))
        return {records.order_id: records for records in grouped.all()}

    def levels(self, after: str, limit: int) -> Levels:
        """The next `limit` levels by product, and the sums of all movements up to the last product, read in
        one snapshot."""
        client = self._database.client
        with client.start_session(snapshot=True) as moment:
            behind = {"_id": {"$gt": after}}
            found = self._database["stock"].find(behind, {"onHand": 1}, session=moment).sort("_id")
            levels = {level["_id"]: level["onHand"] for level in found.limit(limit)}
            last = max(levels) if len(levels) == limit else None
            products = {"$gt": after} | ({"$lte": last} if last is not None else {})
            return Levels(levels, self._sums(products, moment), last)

    def level(self, product: str) -> Levels:
        """The level of one product and the sum of its movements, read in one snapshot."""
        with self._database.client.start_session(snapshot=True) as moment:
            level = self._database["stock"].find_one({"_id": product}, session=moment)
            sums = self._sums(product, moment)
        return Levels({product: level["onHand"]} if level else {}, sums, None)

    def first_movements(self, products: Collection[str]) -> dict[str, datetime]:
        """The time of the first movement of each of these products that is tracked."""
        if not products:
            return {}
        tracked = self._database["stock"].find({"_id": {"$in": sorted(products)}}, {"_id": 1})
        firsts = {
            level["_id"]: self._database["stock_movements"].find_one(
                {"productId": level["_id"]}, {"at": 1}, sort=[("_id", 1)]
            )
            for level in tracked
        }
        return {product: first["at"] for product, first in firsts.items() if first}

    def on_hand_since(self, moment: datetime, products: Collection[str]) -> dict[str, int]:
        """What is on hand of the tracked ones of these products; 0 if that has changed since the moment."""
        if not products:
            return {}
        found = self._database["stock"].find(
            {"_id": {"$in": sorted(products)}}, {"onHand": 1, "updatedAt": 1}
        )
        return {level["_id"]: level["onHand"] if level["updatedAt"] < moment else 0 for level in found}

    def stage(self, report_id: str, payments: Iterable[ProviderPayment]) -> None:
        """Stores the provider's payments by order while the reconciliation runs. Safe to repeat."""
        documents = [
            {"_id": f"{payment.order_id}:{payment.reference}", **payment._asdict()} for payment in payments
        ]
        insert_new(self._staging(report_id), documents)

    def staged(self, report_id: str, order_id: str) -> list[ProviderPayment]:
        """The staged payments of the order."""
        found = self._staging(report_id).find(_between(f"{order_id}:", f"{order_id};", "_id"))
        return [_payment(row) for row in found]

    def staging_reports(self) -> set[str]:
        """The ids of the reconciliations that have staged payments."""
        named = {"name": {"$regex": f"^{_STAGING}"}}
        names = self._database.list_collection_names(filter=named)
        return {name.removeprefix(_STAGING) for name in names}

    def drop_staging(self, report_ids: Iterable[str]) -> None:
        """Drops the staging collections of these reconciliations."""
        for report_id in report_ids:
            self._staging(report_id).drop()

    def _sums(self, products: Any, moment: Transaction) -> dict[str, int]:
        totals = self._database["stock_movements"].aggregate(
            [
                {"$match": {"productId": products}},
                {"$group": {"_id": "$productId", "sum": {"$sum": "$quantity"}}},
            ],
            session=moment,
        )
        return {total["_id"]: total["sum"] for total in totals}

    def _staging(self, report_id: str) -> Any:
        return self._database[f"{_STAGING}{report_id}"]

    def _movements(self, condition: Document) -> Iterable[Document]:
        return self._database["stock_movements"].find(condition, _MOVED)

    def _recorded(self, collection: str, condition: Document) -> Iterable[Document]:
        return self._database[collection].find(condition, _RECORDED)


class _RecordsByOrder:
    """Groups rows by the id of their order."""

    def __init__(self, orders: Iterable[Order], order_ids: Iterable[str] = ()) -> None:
        self._by_id = {order_id: OrderRecords(order_id) for order_id in order_ids}
        for order in orders:
            self._by_id[order["id"]] = OrderRecords(order["id"], order)

    def all(self) -> list[OrderRecords]:
        return list(self._by_id.values())

    def put_payments(self, rows: Iterable[Document]) -> None:
        for row in rows:
            self._of(row["order_id"]).payments.append(_payment(row))

    def put_movements(self, rows: Iterable[Document]) -> None:
        for row in rows:
            moved = Row(row["productId"], row["quantity"], row["kind"], *(row.get(name) for name in _BACK))
            self._of(row["orderId"]).movements.append(moved)

    def put_recorded(self, kind: Literal["notifications", "deliveries"], rows: Iterable[Document]) -> None:
        for row in rows:
            recorded = Recorded(row["sequence"], row["type"], row["_id"])
            getattr(self._of(row["orderId"]), kind).append(recorded)

    def put_feed(self, rows: Iterable[Document]) -> None:
        for key, fed in groupby(rows, itemgetter("orderId")):
            events = [Recorded(row["sequence"], row["type"], str(row["_id"])) for row in fed]
            self._of(str(key)).feed += events

    def _of(self, order_id: str) -> OrderRecords:
        records = self._by_id.get(order_id)
        if records is None:
            records = self._by_id[order_id] = OrderRecords(order_id)
        return records


def _between(after: Any, until: Any, field: str) -> Document:
    return {field: {"$gt": after, "$lte": until}}


def _payment(row: Mapping[str, Any]) -> ProviderPayment:
    return ProviderPayment(**{field: row[field] for field in ProviderPayment._fields})
