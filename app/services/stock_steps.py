"""The steps that move stock: each in one transaction with the orders that it moves for."""

from collections.abc import Callable, Mapping

from app.domain.clock import new_id
from app.domain.order import Change, Order, quantities
from app.domain.refunds import to_restock
from app.domain.stock import Movement, allocate, totals
from app.services.saving import save
from app.services.shop import Shop
from app.storage.database import Transaction

# How much of each product, by order id: below zero it leaves the stock, above it comes back.
Quantities = Mapping[str, Mapping[str, int]]


class _Moved(Exception):
    """Another process changed an order of the batch; nothing of the transaction is written."""


def decrement(shop: Shop, due: list[Order]) -> list[str]:
    """Takes all lines of each order, or none of them: then the order ends."""
    wanted = {product for order in due for product in quantities(order)}

    def take(transaction: Transaction) -> dict[str, list[Change]]:
        on_hand = shop.stock.on_hand(wanted, transaction)
        taken, short = allocate(due, on_hand, strict=shop.settings.stock_policy == "strict")
        leaving = {
            order_id: {product: -quantity for product, quantity in lines.items()}
            for order_id, lines in taken.items()
        }
        _move(shop, "decrement", leaving, transaction)
        changes = {order_id: [Change("stock.decremented")] for order_id in taken}
        for order_id, shortages in short.items():
            changes[order_id] = [
                Change("stock.insufficient", {"shortages": shortages}),
                Change("order.cancelled", {"cancellation": {"reason": "out_of_stock"}}),
            ]
        return changes

    return _in_one_transaction(shop, due, take)


def restock(shop: Shop, due: list[Order]) -> list[str]:
    """Puts back whatever these orders still hold."""

    def put_back(transaction: Transaction) -> dict[str, list[Change]]:
        held = shop.stock.held_by([order["id"] for order in due], transaction)
        _move(shop, "restock", held, transaction)
        return {order["id"]: [Change("stock.restocked")] for order in due}

    return _in_one_transaction(shop, due, put_back)


def restock_refunded(shop: Shop, due: list[Order]) -> list[str]:
    """Puts back what refunds say is on the shelf again, as far as the order still holds it."""

    def put_back(transaction: Transaction) -> dict[str, list[Change]]:
        held = shop.stock.held_by([order["id"] for order in due], transaction)
        changes: dict[str, list[Change]] = {order["id"]: [] for order in due}
        for order in due:
            left = dict(held.get(order["id"], {}))
            for refund in order.get("refunds", ()):
                if wanted := to_restock(refund):
                    coming = {product: min(left.get(product, 0), wanted[product]) for product in wanted}
                    left |= {product: left.get(product, 0) - coming[product] for product in coming}
                    _move(shop, "restock", {order["id"]: coming}, transaction, refund["id"])
                    told = {"refundId": refund["id"], "restocked": True}
                    changes[order["id"]].append(Change("refund.restocked", told))
        return changes

    return _in_one_transaction(shop, due, put_back)


def _move(
    shop: Shop,
    kind: str,
    quantities_of: Quantities,
    transaction: Transaction,
    refund_id: str | None = None,
) -> None:
    at = shop.clock()
    of_refund = {"refundId": refund_id} if refund_id else {}
    rows: list[Movement] = [
        {
            "id": new_id(at),
            "productId": product,
            "quantity": quantity,
            "kind": kind,
            "at": at,
            "orderId": order_id,
            **of_refund,  # type: ignore[typeddict-item]
        }
        for order_id, lines in quantities_of.items()
        for product, quantity in lines.items()
        if quantity
    ]
    deltas = totals({row["productId"]: row["quantity"]} for row in rows)
    if not shop.stock.move(deltas, rows, at, transaction):
        raise _Moved


def _in_one_transaction(
    shop: Shop, due: list[Order], work: Callable[[Transaction], Mapping[str, list[Change]]]
) -> list[str]:
    """Does the work and writes the changes it answers with; all the ids where an order had moved on."""
    orders = {order["id"]: order for order in due}

    def whole(transaction: Transaction) -> None:
        if save(shop, work(transaction), orders, transaction):
            raise _Moved

    try:
        shop.transact(whole)
    except _Moved:
        return list(orders)
    return []
