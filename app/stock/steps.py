"""The steps that change stock. The stock and its orders change in the same transaction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.mongo.database import Transaction
from app.orders.cancellations import holds_stock
from app.orders.model import Change, Order
from app.orders.refunds import to_restock
from app.orders.returns import resellable, unstocked
from app.orders.saving import Saved
from app.orders.steps import (
    DECREMENT,
    DECREMENT_FIRST,
    RESTOCK,
    RESTOCK_CANCELLED,
    RESTOCK_REFUNDED,
    RESTOCK_RETURNED,
    Step,
)
from app.stock import StockServices
from app.stock.batches import in_transactions, move, row
from app.stock.taking import decrement, decrement_first

if TYPE_CHECKING:
    from app.stock.model import Movement


def restock(services: StockServices, due: list[Order], onward: Sequence[Step]) -> list[Saved]:
    """Puts back all stock that these cancelled orders still hold."""

    def put_back(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        held = services.store.held_by([order["id"] for order in orders], transaction)
        rows = [
            row(services, "restock", order_id, product, quantity)
            for order_id, lines in held.items()
            for product, quantity in lines.items()
        ]
        move(services, rows, transaction)
        return {order["id"]: [Change("stock.restocked")] for order in orders}

    return in_transactions(services, RESTOCK, due, onward, put_back)


def restock_refunded(services: StockServices, due: list[Order], onward: Sequence[Step]) -> list[Saved]:
    """Puts back the products that refunds return to the stock, as far as the order still holds them."""

    def put_back(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        held = services.store.held_by([order["id"] for order in orders], transaction)
        changes: dict[str, list[Change]] = {order["id"]: [] for order in orders}
        rows: list[Movement] = []
        for order in orders:
            left = held.get(order["id"], {})
            for refund in order.get("refunds", ()):
                if wanted := to_restock(refund):
                    of = {"refundId": refund["id"]}
                    for product, quantity in wanted.items():
                        coming = _taken_from(left, product, quantity)
                        rows.append(row(services, "restock", order["id"], product, coming, **of))
                    changes[order["id"]].append(Change("refund.restocked", {**of, "restocked": True}))
        move(services, rows, transaction)
        return changes

    return in_transactions(services, RESTOCK_REFUNDED, due, onward, put_back)


def restock_cancelled(services: StockServices, due: list[Order], onward: Sequence[Step]) -> list[Saved]:
    """Puts back the pieces of part cancellations, line by line, as far as the order still holds them."""

    def put_back(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        held = services.store.held_by([order["id"] for order in orders], transaction)
        changes: dict[str, list[Change]] = {order["id"]: [] for order in orders}
        rows: list[Movement] = []
        for order in orders:
            left = held.get(order["id"], {})
            for cancellation in filter(holds_stock, order.get("cancellations", ())):
                of = {"cancellationId": cancellation["id"]}
                for some in cancellation["products"]:
                    product = order["products"][some["line"] - 1]["productId"]
                    coming = _taken_from(left, product, some["quantity"])
                    about = {**of, "line": some["line"]}
                    rows.append(row(services, "restock", order["id"], product, coming, **about))
                changes[order["id"]].append(Change("cancellation.restocked", of))
        move(services, rows, transaction)
        return changes

    return in_transactions(services, RESTOCK_CANCELLED, due, onward, put_back)


def restock_returned(services: StockServices, due: list[Order], onward: Sequence[Step]) -> list[Saved]:
    """Puts back the resellable pieces of receipts, line by line, as far as the order still holds them."""

    def put_back(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        held = services.store.held_by([order["id"] for order in orders], transaction)
        changes: dict[str, list[Change]] = {order["id"]: [] for order in orders}
        rows: list[Movement] = []
        for order in orders:
            left = held.get(order["id"], {})
            for one, receipt in unstocked(order):
                of = {"returnId": one["id"], "receipt": receipt["receipt"]}
                for some in resellable(receipt):
                    product = order["products"][some["line"] - 1]["productId"]
                    coming = _taken_from(left, product, some["quantity"])
                    about = {**of, "line": some["line"]}
                    rows.append(row(services, "return", order["id"], product, coming, **about))
                changes[order["id"]].append(Change("return.restocked", of))
        move(services, rows, transaction)
        return changes

    return in_transactions(services, RESTOCK_RETURNED, due, onward, put_back)


def _taken_from(held: dict[str, int], product: str, wanted: int) -> int:
    """How much of the wanted quantity is held. Takes it from what is held."""
    coming = min(held.get(product, 0), wanted)
    held[product] = held.get(product, 0) - coming
    return coming


# The function that does each step.
EFFECTS = {
    DECREMENT_FIRST: decrement_first,
    DECREMENT: decrement,
    RESTOCK_CANCELLED: restock_cancelled,
    RESTOCK: restock,
    RESTOCK_REFUNDED: restock_refunded,
    RESTOCK_RETURNED: restock_returned,
}
