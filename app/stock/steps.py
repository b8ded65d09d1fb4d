"""The steps that move stock: each in one transaction with the orders that it moves for."""

from collections.abc import Callable, Mapping, Sequence
from time import sleep

import structlog

from app.clock import new_id
from app.errors import StockBusy
from app.mongo.database import Transaction
from app.observability.tracing import about
from app.orders.model import Change, Order, quantities
from app.orders.refunds import to_restock
from app.orders.saving import save, wait_for_stock
from app.orders.steps import DECREMENT, RESTOCK, RESTOCK_REFUNDED, Step
from app.shop import Shop
from app.stock.model import Movement, allocate, totals
from app.stock.store import AlreadyMoved

log = structlog.get_logger()

# Seconds that a batch meets write conflicts before it goes on without the locked products, and a part of a
# batch before it is halved.
_PATIENCE = 0.2
_PATIENCE_OF_A_PART = 0.05
# Seconds between two looks at a product. If it is locked at both, no living worker is likely to hold it.
_PAUSE = 0.15

# How much of each product, by order id: below zero it leaves the stock, above it comes back.
Quantities = Mapping[str, Mapping[str, int]]
# Moves the stock of these orders in the transaction, and returns their changes.
Work = Callable[[Sequence[Order], Transaction], Mapping[str, list[Change]]]


class _Unsaved(Exception):
    """Another process changed these orders of the batch; nothing of the transaction is written."""

    def __init__(self, order_ids: list[str]) -> None:
        super().__init__()
        self.order_ids = order_ids


def decrement(shop: Shop, due: list[Order]) -> list[str]:
    """Takes all lines of each order, or none of them: then the order ends.

    Raises AlreadyMoved where the ledger has movements of an order that are not what the order takes.
    """

    def take(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        wanted = {product for order in orders for product in quantities(order)}
        on_hand = shop.stock.on_hand(wanted, transaction)
        taken, short = allocate(orders, on_hand, strict=shop.settings.stock_policy == "strict")
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

    try:
        return _in_transactions(shop, DECREMENT, due, take)
    except AlreadyMoved:
        if len(due) > 1:
            raise
    return _in_transactions(
        shop, DECREMENT, due, lambda orders, transaction: _taken(shop, orders[0], transaction)
    )


def restock(shop: Shop, due: list[Order]) -> list[str]:
    """Puts back whatever these orders still hold."""

    def put_back(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        held = shop.stock.held_by([order["id"] for order in orders], transaction)
        _move(shop, "restock", held, transaction)
        return {order["id"]: [Change("stock.restocked")] for order in orders}

    return _in_transactions(shop, RESTOCK, due, put_back)


def restock_refunded(shop: Shop, due: list[Order]) -> list[str]:
    """Puts back what refunds say is on the shelf again, as far as the order still holds it."""

    def put_back(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        held = shop.stock.held_by([order["id"] for order in orders], transaction)
        changes: dict[str, list[Change]] = {order["id"]: [] for order in orders}
        for order in orders:
            left = dict(held.get(order["id"], {}))
            for refund in order.get("refunds", ()):
                if wanted := to_restock(refund):
                    coming = {product: min(left.get(product, 0), wanted[product]) for product in wanted}
                    left |= {product: left.get(product, 0) - coming[product] for product in coming}
                    _move(shop, "restock", {order["id"]: coming}, transaction, refund["id"])
                    told = {"refundId": refund["id"], "restocked": True}
                    changes[order["id"]].append(Change("refund.restocked", told))
        return changes

    return _in_transactions(shop, RESTOCK_REFUNDED, due, put_back)


def _taken(shop: Shop, order: Order, transaction: Transaction) -> dict[str, list[Change]]:
    """The order gets the stock that the ledger says it holds, if that is exactly what it wants."""
    wanted = quantities(order)
    tracked = shop.stock.on_hand(wanted, transaction)
    held = shop.stock.held_by([order["id"]], transaction).get(order["id"], {})
    if held != {product: quantity for product, quantity in wanted.items() if product in tracked}:
        raise AlreadyMoved("The ledger has other movements of this order than its lines.")
    log.warning("stock was taken before, by the ledger", **about(order))
    return {order["id"]: [Change("stock.decremented")]}


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
    shop.stock.move(deltas, rows, at, transaction)


def _in_transactions(shop: Shop, step: Step, due: Sequence[Order], work: Work) -> list[str]:
    """Does the work and writes its changes, in one transaction if none of the stock is busy.

    Orders whose products another transaction holds are left out and wait. Returns the ids of the orders that
    another process changed first.
    """
    try:
        return _in_one(shop, due, work, _PATIENCE)
    except StockBusy:
        held = _locked(shop, due)
    free = [order for order in due if not held & quantities(order).keys()]
    wait_for_stock(shop, step.name, [order for order in due if held & quantities(order).keys()])
    return _in_halves(shop, step, free, work, _PATIENCE)


def _locked(shop: Shop, orders: Sequence[Order]) -> set[str]:
    held = shop.stock.locked({product for order in orders for product in quantities(order)})
    if held:
        sleep(_PAUSE)
    return shop.stock.locked(held)


def _in_halves(
    shop: Shop, step: Step, orders: Sequence[Order], work: Work, patience: float = _PATIENCE_OF_A_PART
) -> list[str]:
    """The same, in ever smaller transactions, which hardly wait for a lock."""
    if not orders:
        return []
    try:
        return _in_one(shop, orders, work, patience)
    except StockBusy:
        if len(orders) == 1:
            wait_for_stock(shop, step.name, orders)
            return []
    middle = len(orders) // 2
    return _in_halves(shop, step, orders[:middle], work) + _in_halves(shop, step, orders[middle:], work)


def _in_one(shop: Shop, orders: Sequence[Order], work: Work, patience: float) -> list[str]:
    """Does the work for all orders but those that another process changes first; returns the ids of those."""
    unsaved: list[str] = []
    left = {order["id"]: order for order in orders}

    def whole(transaction: Transaction) -> None:
        if unsaved_now := save(shop, work(list(left.values()), transaction), left, transaction):
            raise _Unsaved(unsaved_now)

    while left:
        try:
            shop.transact(whole, patience)
            break
        except _Unsaved as error:
            lost = error.order_ids
        except AlreadyMoved:
            # Another process may have done the step for some orders since they were loaded.
            present = {order["id"]: order["version"] for order in shop.orders.load(left)}
            lost = [order_id for order_id, order in left.items() if present.get(order_id) != order["version"]]
            if not lost:
                raise
        unsaved += lost
        left = {order_id: order for order_id, order in left.items() if order_id not in lost}
    return unsaved
