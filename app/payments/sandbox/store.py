"""The payments of the sandbox provider. They are separate from the orders, like those of a real provider."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from pymongo import UpdateOne
from pymongo.database import Database

from app.mongo.database import Document
from app.mongo.documents import insert_each
from app.mongo.outages import reports_outages
from app.payments.model import Charge, ProviderPayment, Repayment


@reports_outages
class SandboxBooks:
    """One document per order, with the order's id. Every change is atomic and happens once."""

    def __init__(self, database: Database[Document]) -> None:
        self._collection = database["sandbox_payments"]

    def open(self, charges: Sequence[tuple[Charge, str]], at: datetime) -> dict[str, Document]:
        """Opens a payment for each charge in the given status, unless it has one. Counts the calls."""
        opened = [
            {"_id": charge.order_id, **_opened(charge, status, at), "calls": 1} for charge, status in charges
        ]
        faults = insert_each(self._collection, opened)
        payments = {made["_id"]: made for number, made in enumerate(opened) if number not in faults}
        if not faults:
            return payments
        left = [charges[number] for number in faults]
        return payments | self._write(
            [charge for charge, _ in left],
            (
                UpdateOne(
                    {"_id": charge.order_id},
                    {"$setOnInsert": _opened(charge, status, at), "$inc": {"calls": 1}},
                    upsert=True,
                )
                for charge, status in left
            ),
        )

    def capture(self, charges: Sequence[Charge]) -> dict[str, Document]:
        """Captures what is due of the authorized payments."""
        return self._write(
            charges,
            (
                UpdateOne(
                    {"_id": charge.order_id, "status": "authorized"},
                    {"$set": {"status": "captured", "captured": charge.due}},
                )
                for charge in charges
            ),
        )

    def void(self, charges: Sequence[Charge], at: datetime) -> dict[str, Document]:
        """Voids the authorized payments. Stores unopened payments as voided, so that they cannot be opened
        later."""
        unopened = (
            UpdateOne({"_id": charge.order_id}, {"$setOnInsert": _opened(charge, "voided", at)}, upsert=True)
            for charge in charges
        )
        authorized = (
            UpdateOne({"_id": charge.order_id, "status": "authorized"}, {"$set": {"status": "voided"}})
            for charge in charges
        )
        return self._write(
            charges, (write for pair in zip(unopened, authorized, strict=True) for write in pair)
        )

    def refund(self, repayments: Sequence[Repayment]) -> dict[str, Document]:
        """Makes each repayment once, if enough captured money is left."""
        return self._write([repayment.charge for repayment in repayments], map(_repaid, repayments))

    def find(self, order_id: str) -> ProviderPayment | None:
        """The payment of an order; None if it has none."""
        document = self._collection.find_one({"_id": order_id})
        return _payment(document) if document else None

    def since(self, moment: datetime) -> Iterator[ProviderPayment]:
        """All payments opened since the moment, oldest first."""
        for document in self._collection.find({"at": {"$gte": moment}}, batch_size=1_000).sort("at"):
            yield _payment(document)

    def _write(self, charges: Sequence[Charge], writes: Iterable[UpdateOne]) -> dict[str, Document]:
        self._collection.bulk_write(list(writes))
        found = self._collection.find({"_id": {"$in": [charge.order_id for charge in charges]}})
        return {document["_id"]: document for document in found}


def _opened(charge: Charge, status: str, at: datetime) -> Document:
    return {
        "status": status,
        "amount": charge.amount,
        "currency": charge.currency,
        "captured": 0,
        "refunded": 0,
        "at": at,
    }


def _repaid(repayment: Repayment) -> UpdateOne:
    total = {"$add": ["$refunded", repayment.amount]}
    return UpdateOne(
        {
            "_id": repayment.charge.order_id,
            "status": "captured",
            "refunds.id": {"$ne": repayment.refund_id},
            "$expr": {"$lte": [total, "$captured"]},
        },
        [
            {
                "$set": {
                    "status": {"$cond": [{"$eq": [total, "$captured"]}, "refunded", "$status"]},
                    "refunded": total,
                    "refunds": {
                        "$concatArrays": [
                            {"$ifNull": ["$refunds", []]},
                            [{"id": repayment.refund_id, "amount": repayment.amount}],
                        ]
                    },
                }
            }
        ],
    )


def _payment(document: Document) -> ProviderPayment:
    return ProviderPayment(
        order_id=document["_id"],
        reference=f"sandbox_{document['_id']}",
        **{field: document[field] for field in ProviderPayment._fields[2:]},
    )
