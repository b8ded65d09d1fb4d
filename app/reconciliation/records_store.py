"""All books side by side, read in stretches of order ids, so that what belongs to an order comes together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from app.mongo.database import Document, Transaction, reachable
from app.orders.documents_store import OrderDocuments
from app.orders.model import Order
from app.payments.model import ProviderPayment
from app.reconciliation.kinds import Scope
from app.reconciliation.records import Dossier, Row, Told

_DUPLICATE_KEY = 11000
_GATHERED = "reconciliation_payments_"
_ORDER: Document = {"idempotency": 0, "refundKeys": 0}
# What of an order the ledger and the provider's books are compared with.
_COMPARED: Document = dict.fromkeys(
    ("products", "totalAmount", "currency", "status", "payment", "stock", "refunds", "version", "updatedAt",
     "dueBy", "attempts"),
    1,
)  # fmt: skip
_COMPARED |= {"events.type": 1, "events.at": 1}
_TOLD: Document = {"orderId": 1, "sequence": 1, "type": 1}


class Levels(NamedTuple):
    """Some levels by product, the sums of their movements, and the last product where there are more."""

    levels: dict[str, int]
    sums: dict[str, int]
    last: str | None


class Audit:
    """Reads across the collections, and changes none of them."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._orders = OrderDocuments(database)

    def count(self, after: str, until: str) -> int:
        """How many orders there are behind the one id and up to the other."""
        with reachable():
            return self._database["orders"].count_documents(_between(ObjectId(after), ObjectId(until), "_id"))

    def stretch(
        self, after: str, until: str, limit: int, scopes: Sequence[Scope], report_id: str
    ) -> tuple[list[Dossier], str]:
        """The next `limit` orders behind the one id and up to the other, all that tells of them or of orders
        that there are not in between; and the id up to which that goes."""
        with reachable():
            orders = self._orders.find(
                _between(ObjectId(after), ObjectId(until), "_id"),
                _ORDER if "orders" in scopes else _COMPARED,
                sort=[("_id", 1)],
                limit=limit,
            )
            last = orders[-1]["id"] if len(orders) == limit else until
            dossiers = _Dossiers(orders)
            if "payments" in scopes:
                laid_down = self._gathered(report_id)
                dossiers.put_payments(laid_down.find(_between(f"{after};", f"{last};", "_id")))
            if "stock" in scopes:
                dossiers.put_movements(self._movements(_between(after, last, "orderId")))
            if "orders" in scopes:
                keys = _between(f"{after};", f"{last};", "_id")
                dossiers.put_notifications(self._database["notifications"].find(keys, _TOLD))
                self._put_told(dossiers, _between(after, last, "orderId"))
                dossiers.put_feed(self._feed(_between(ObjectId(after), ObjectId(last), "orderId")))
        return dossiers.all(), last

    def dossiers(self, order_ids: Sequence[str], scopes: Iterable[Scope]) -> dict[str, Dossier]:
        """The same of these orders, without their payments, read now."""
        with reachable():
            keys = {"$in": [ObjectId(order_id) for order_id in order_ids]}
            among = {"orderId": {"$in": list(order_ids)}}
            dossiers = _Dossiers(self._orders.find({"_id": keys}, _ORDER), order_ids)
            if "stock" in scopes:
                dossiers.put_movements(self._movements(among))
            if "orders" in scopes:
                for order_id in order_ids:
                    keyed = _between(f"{order_id}:", f"{order_id};", "_id")
                    dossiers.put_notifications(self._database["notifications"].find(keyed, _TOLD))
                self._put_told(dossiers, among)
                dossiers.put_feed(self._feed({"orderId": keys}))
        return {dossier.order_id: dossier for dossier in dossiers.all()}

    def levels(self, after: str, limit: int) -> Levels:
        """The next `limit` levels by product, and the sums of all movements up to the last of them, both as
        they were at one moment."""
        client = self._database.client
        with reachable(), client.start_session(snapshot=True) as moment:
            behind = {"_id": {"$gt": after}}
            found = self._database["stock"].find(behind, {"onHand": 1}, session=moment).sort("_id")
            levels = {level["_id"]: level["onHand"] for level in found.limit(limit)}
            last = max(levels) if len(levels) == limit else None
            products = {"$gt": after} | ({"$lte": last} if last is not None else {})
            return Levels(levels, self._sums(products, moment), last)

    def level(self, product: str) -> Levels:
        """The same of one product."""
        with reachable(), self._database.client.start_session(snapshot=True) as moment:
            level = self._database["stock"].find_one({"_id": product}, session=moment)
            sums = self._sums(product, moment)
        return Levels({product: level["onHand"]} if level else {}, sums, None)

    def first_movements(self, products: Collection[str]) -> dict[str, datetime]:
        """When the first movement of each of these products was, as far as they are tracked."""
        if not products:
            return {}
        with reachable():
            tracked = self._database["stock"].find({"_id": {"$in": sorted(products)}}, {"_id": 1})
            firsts = {
                level["_id"]: self._database["stock_movements"].find_one(
                    {"productId": level["_id"]}, {"at": 1}, sort=[("_id", 1)]
                )
                for level in tracked
            }
        return {product: first["at"] for product, first in firsts.items() if first}

    def gather(self, report_id: str, payments: Iterable[ProviderPayment]) -> None:
        """Lays the provider's payments down by their orders, for the time of a reconciliation; safe to
        repeat."""
        documents = [
            {"_id": f"{payment.order_id}:{payment.reference}", **payment._asdict()} for payment in payments
        ]
        try:
            with reachable():
                if documents:
                    self._gathered(report_id).insert_many(documents, ordered=False)
        except BulkWriteError as error:
            if any(fault["code"] != _DUPLICATE_KEY for fault in error.details["writeErrors"]):
                raise

    def gathered(self, report_id: str, order_id: str) -> list[ProviderPayment]:
        """What was laid down of the order."""
        with reachable():
            found = self._gathered(report_id).find(_between(f"{order_id}:", f"{order_id};", "_id"))
            return [_payment(row) for row in found]

    def laid_down(self) -> set[str]:
        """The reconciliations for which payments are laid down."""
        named = {"name": {"$regex": f"^{_GATHERED}"}}
        with reachable():
            names = self._database.list_collection_names(filter=named)
        return {name.removeprefix(_GATHERED) for name in names}

    def put_away(self, report_ids: Iterable[str]) -> None:
        """Removes what was laid down for these reconciliations."""
        with reachable():
            for report_id in report_ids:
                self._gathered(report_id).drop()

    def _sums(self, products: Any, moment: Transaction) -> dict[str, int]:
        totals = self._database["stock_movements"].aggregate(
            [
                {"$match": {"productId": products}},
                {"$group": {"_id": "$productId", "sum": {"$sum": "$quantity"}}},
            ],
            session=moment,
        )
        return {total["_id"]: total["sum"] for total in totals}

    def _gathered(self, report_id: str) -> Any:
        return self._database[f"{_GATHERED}{report_id}"]

    def _movements(self, condition: Document) -> Iterable[Document]:
        shown = {"_id": 0, "orderId": 1, "productId": 1, "quantity": 1, "kind": 1, "refundId": 1}
        return self._database["stock_movements"].find(condition, shown)

    def _feed(self, condition: Document) -> Iterable[Document]:
        return self._database["feed"].find(condition)

    def _put_told(self, dossiers: "_Dossiers", condition: Document) -> None:
        dossiers.put_deliveries(self._database["webhook_deliveries"].find(condition, _TOLD))


class _Dossiers:
    """Puts what is read under the order that it is of."""

    def __init__(self, orders: Iterable[Order], order_ids: Iterable[str] = ()) -> None:
        self._by_id = {order_id: Dossier(order_id) for order_id in order_ids}
        for order in orders:
            self._by_id[order["id"]] = Dossier(order["id"], order)

    def all(self) -> list[Dossier]:
        return list(self._by_id.values())

    def put_payments(self, rows: Iterable[Document]) -> None:
        for row in rows:
            self._of(row["order_id"]).payments.append(_payment(row))

    def put_movements(self, rows: Iterable[Document]) -> None:
        for row in rows:
            moved = Row(row["productId"], row["quantity"], row["kind"], row.get("refundId"))
            self._of(row["orderId"]).movements.append(moved)

    def put_notifications(self, rows: Iterable[Document]) -> None:
        for row in rows:
            self._of(row["orderId"]).notifications.append(Told(row["sequence"], row["type"], row["_id"]))

    def put_deliveries(self, rows: Iterable[Document]) -> None:
        for row in rows:
            self._of(row["orderId"]).deliveries.append(Told(row["sequence"], row["type"], row["_id"]))

    def put_feed(self, rows: Iterable[Document]) -> None:
        for key, fed in groupby(rows, itemgetter("orderId")):
            told = [Told(row["sequence"], row["type"], str(row["_id"])) for row in fed]
            self._of(str(key)).feed += told

    def _of(self, order_id: str) -> Dossier:
        dossier = self._by_id.get(order_id)
        if dossier is None:
            dossier = self._by_id[order_id] = Dossier(order_id)
        return dossier


def _between(after: Any, until: Any, field: str) -> Document:
    return {field: {"$gt": after, "$lte": until}}


def _payment(row: Mapping[str, Any]) -> ProviderPayment:
    return ProviderPayment(**{field: row[field] for field in ProviderPayment._fields})
