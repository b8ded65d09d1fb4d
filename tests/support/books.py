"""Looks into the database the way an auditor would: money, stock and logs must agree, whatever happened."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from app.orders import steps
from app.orders.cancellations import took_stock
from app.orders.log import first_bad_sequence
from app.orders.model import fold, quantities
from app.orders.pieces import lowering

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.services import Services


IDS = ("refundId", "code", "cancellationId", "returnId", "receipt")
AXES, THINGS = ("status", "payment", "stock"), ("refunds", "cancellations", "returns")


class Books:
    """The database behind the services, read only."""

    def __init__(self, services: Services, database: OrderDatabase) -> None:
        self._services = services
        self._database = database

    def orders(self) -> list[Order]:
        """All orders with their logs, the deleted ones too."""
        ids = [str(found["_id"]) for found in self._database["orders"].find({}, {"_id": 1})]
        return self._services.orders.store.load_with_logs(ids)

    def order(self, order_id: str) -> Order:
        """One order with its log."""
        return self._services.orders.store.load_with_logs([order_id])[0]

    def document(self, order_id: str) -> dict[str, Any]:
        """The order as it is stored, with what its journey needs."""
        documents = {str(found["_id"]): found for found in self._database["orders"].find()}
        return documents[order_id]

    def levels(self) -> dict[str, int]:
        """The level of each product."""
        return {found["_id"]: found["onHand"] for found in self._database["stock"].find()}

    def movements(self) -> list[dict[str, Any]]:
        """The whole ledger."""
        return list(self._database["stock_movements"].find())

    def payment(self, order_id: str) -> dict[str, Any] | None:
        """The provider's record of an order."""
        return self._database["sandbox_payments"].find_one({"_id": order_id})

    def notifications(self) -> list[dict[str, Any]]:
        """Everything ever recorded for announcement."""
        return list(self._database["notifications"].find().sort("_id"))

    def owed(self, order_id: str) -> set[str]:
        """The steps the order owes, announcements left out."""
        return set(steps.due(self.order(order_id))) - {steps.ANNOUNCE.name}

    def check(self) -> list[Order]:
        """Every invariant that holds of orders at rest; answers with the orders."""
        orders = self.orders()
        self._check_ledger(orders)
        for order in orders:
            self._check_log(order)
            self._check_money(order)
        return orders

    def _check_ledger(self, orders: Iterable[Order]) -> None:
        levels, moved = self.levels(), Counter[str]()
        kept = {product: Counter[str]() for product in levels}
        for row in self.movements():
            moved[row["productId"]] += row["quantity"]
            if "orderId" in row:
                kept[row["productId"]][row["orderId"]] += row["quantity"]
        assert levels == {product: moved[product] for product in levels}
        assert all(level >= 0 for level in levels.values())
        for order in orders:
            holds = {product: -kept[product][order["id"]] for product in levels}
            takes = quantities(order) if order["stock"]["status"] == "decremented" else {}
            for cancellation in filter(took_stock, order.get("cancellations", ()) if takes else ()):
                for some in cancellation["products"]:
                    takes[order["products"][some["line"] - 1]["productId"]] -= some["quantity"]
            for one in order.get("returns", ()) if takes else ():
                for some in (some for receipt in one["receipts"] for some in receipt["products"]):
                    is_back = some["condition"] == "resellable"
                    takes[order["products"][some["line"] - 1]["productId"]] -= some["quantity"] * is_back
            for refund in order.get("refunds", ()):
                for line in refund.get("products", ()) if refund.get("restocked") and takes else ():
                    takes[line["productId"]] -= line["quantity"] if line["restock"] else 0
            assert holds == {product: takes.get(product, 0) for product in levels}, order["id"]

    def _check_log(self, order: Order) -> None:
        assert not set(steps.due(order)) - {steps.ANNOUNCE.name}, order["id"]
        assert first_bad_sequence(order["id"], order["events"]) is None
        assert order["events"][-1]["sequence"] == order["version"] == len(order["events"])
        folded = fold(order["id"], order["events"])
        assert [folded[axis] for axis in AXES] == [order[axis] for axis in AXES]  # type: ignore[literal-required]
        assert [folded.get(kind) for kind in THINGS] == [order.get(kind) for kind in THINGS]
        kinds = Counter(
            (event["type"], *(event["data"].get(name) for name in IDS)) for event in order["events"]
        )
        doubled = [
            kind for kind, times in kinds.items() if times > 1 and kind[0] != "payment.partially_refunded"
        ]
        assert not doubled, (order["id"], doubled)

    def _check_money(self, order: Order) -> None:
        payment = self.payment(order["id"])
        if order["status"] == "cancelled":
            assert payment is None or payment["status"] in ("voided", "declined", "refunded")
            assert payment is None or payment["captured"] == payment["refunded"]
            assert order["payment"]["status"] in ("voided", "declined", "refunded")
            assert order["payment"]["capturedAmount"] == order["payment"]["refundedAmount"]
        else:
            assert payment is not None
            given_back = [r["amount"] for r in order.get("refunds", ()) if r["status"] == "succeeded"]
            assert order["payment"]["status"] == (
                "captured"
                if not given_back
                else "refunded"
                if sum(given_back) == order["payment"]["capturedAmount"]
                else "partially_refunded"
            )
            lowered = sum(one["amount"] for one in lowering(order) if "refundId" not in one)
            assert payment["captured"] == order["payment"]["capturedAmount"] == order["totalAmount"] - lowered
            assert payment["refunded"] == order["payment"]["refundedAmount"] == sum(given_back)
            assert order["stock"]["status"] == "decremented"
