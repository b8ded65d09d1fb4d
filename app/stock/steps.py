"""The steps that change stock. The stock and its orders change in the same transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import sleep
from typing import Any

import structlog

from app.clock import new_id
from app.errors import StockBusy
from app.mongo.database import Transaction
from app.observability.tracing import about
from app.orders.cancellations import holds_stock
from app.orders.model import Change, Order, quantities
from app.orders.refunds import to_restock
from app.orders.returns import resellable, unstocked
from app.orders.saving import Saved, save, wait_for_stock
from app.orders.steps import DECREMENT, RESTOCK, RESTOCK_CANCELLED, RESTOCK_REFUNDED, RESTOCK_RETURNED, Step
from app.stock import StockServices
from app.stock.model import Movement, allocate, totals
from app.stock.store import AlreadyMoved

log = structlog.get_logger()

# After this many seconds of write conflicts, a batch continues without the locked products, and a part of a
# batch is halved.
_PATIENCE = 0.2
_PATIENCE_OF_A_PART = 0.05
# Seconds between two checks of a lock. A lock that is there both times probably belongs to a dead worker.
_PAUSE = 0.15

# Changes the stock for these orders in the transaction, and returns the changes of the orders.
Work = Callable[[Sequence[Order], Transaction], Mapping[str, list[Change]]]


class _Unsaved(Exception):
    """Another process changed these orders of the batch. It rolls back the transaction."""

    def __init__(self, order_ids: Sequence[str]) -> None:
        super().__init__()
        self.order_ids = order_ids


def decrement(services: StockServices, due: list[Order], onward: Sequence[Step]) -> list[Saved]:
    """Takes the stock for all lines of each order. If a product is short, the order takes none and is
    cancelled.

    Raises AlreadyMoved if the ledger has movements of an order that do not match its lines.
    """

    def take(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        wanted = {product for order in orders for product in quantities(order)}
        on_hand = services.store.on_hand(wanted, transaction)
        taken, short = allocate(orders, on_hand, strict=services.strict)
        rows = [
            _row(services, "decrement", order_id, product, -quantity)
            for order_id, lines in taken.items()
            for product, quantity in lines.items()
        ]
        _move(services, rows, transaction)
        changes = {order_id: [Change("stock.decremented")] for order_id in taken}
        for order_id, shortages in short.items():
            changes[order_id] = [
                Change("stock.insufficient", {"shortages": shortages}),
                Change("order.cancelled", {"cancellation": {"reason": "out_of_stock"}}),
            ]
        return changes

    try:
        return _in_transactions(services, DECREMENT, due, onward, take)
    except AlreadyMoved:
        if len(due) > 1:
            raise
    return _in_transactions(
        services, DECREMENT, due, onward, lambda orders, transaction: _taken(services, orders[0], transaction)
    )


def restock(services: StockServices, due: list[Order], onward: Sequence[Step]) -> list[Saved]:
    """Puts back all stock that these cancelled orders still hold."""

    def put_back(orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        held = services.store.held_by([order["id"] for order in orders], transaction)
        rows = [
            _row(services, "restock", order_id, product, quantity)
            for order_id, lines in held.items()
            for product, quantity in lines.items()
        ]
        _move(services, rows, transaction)
        return {order["id"]: [Change("stock.restocked")] for order in orders}

    return _in_transactions(services, RESTOCK, due, onward, put_back)


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
                        rows.append(_row(services, "restock", order["id"], product, coming, **of))
                    changes[order["id"]].append(Change("refund.restocked", {**of, "restocked": True}))
        _move(services, rows, transaction)
        return changes

    return _in_transactions(services, RESTOCK_REFUNDED, due, onward, put_back)


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
                    rows.append(_row(services, "restock", order["id"], product, coming, **about))
                changes[order["id"]].append(Change("cancellation.restocked", of))
        _move(services, rows, transaction)
        return changes

    return _in_transactions(services, RESTOCK_CANCELLED, due, onward, put_back)


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
                    rows.append(_row(services, "return", order["id"], product, coming, **about))
                changes[order["id"]].append(Change("return.restocked", of))
        _move(services, rows, transaction)
        return changes

    return _in_transactions(services, RESTOCK_RETURNED, due, onward, put_back)


def _taken(services: StockServices, order: Order, transaction: Transaction) -> dict[str, list[Change]]:
    """Marks the order as decremented if the ledger already has exactly the movements of its lines."""
    wanted = quantities(order)
    tracked = services.store.on_hand(wanted, transaction)
    held = services.store.held_by([order["id"]], transaction).get(order["id"], {})
    if held != {product: quantity for product, quantity in wanted.items() if product in tracked}:
        raise AlreadyMoved("The ledger's movements of this order do not match its lines.")
    log.warning("ledger already has the order's movements", **about(order))
    return {order["id"]: [Change("stock.decremented")]}


def _taken_from(held: dict[str, int], product: str, wanted: int) -> int:
    """How much of the wanted quantity is held. Takes it from what is held."""
    coming = min(held.get(product, 0), wanted)
    held[product] = held.get(product, 0) - coming
    return coming


def _row(
    services: StockServices, kind: str, order_id: str, product: str, quantity: int, **about: Any
) -> Movement:
    """A movement of an order. `about` says what it belongs to, such as a refund."""
    at = services.clock()
    return {
        "id": new_id(at),
        "productId": product,
        "quantity": quantity,
        "kind": kind,
        "at": at,
        "orderId": order_id,
        **about,  # type: ignore[typeddict-item]
    }


def _move(services: StockServices, rows: Iterable[Movement], transaction: Transaction) -> None:
    """Writes the movements, without those of nothing, and changes the levels."""
    moved = [row for row in rows if row["quantity"]]
    deltas = totals({row["productId"]: row["quantity"]} for row in moved)
    services.store.move(deltas, moved, services.clock(), transaction)


def _in_transactions(
    services: StockServices, step: Step, due: Sequence[Order], onward: Sequence[Step], work: Work
) -> list[Saved]:
    """Does the work and saves its changes, in one transaction if no product is locked.

    Orders with locked products are left out and retried later.
    """
    try:
        return [_in_one(services, due, onward, work, _PATIENCE)]
    except StockBusy:
        held = _locked(services, due)
    free = [order for order in due if not held & quantities(order).keys()]
    wait_for_stock(services.orders, step.name, [order for order in due if held & quantities(order).keys()])
    return _in_halves(services, step, free, onward, work, _PATIENCE)


def _locked(services: StockServices, orders: Sequence[Order]) -> set[str]:
    held = services.store.locked({product for order in orders for product in quantities(order)})
    if held:
        sleep(_PAUSE)
    return services.store.locked(held)


def _in_halves(
    services: StockServices,
    step: Step,
    orders: Sequence[Order],
    onward: Sequence[Step],
    work: Work,
    patience: float = _PATIENCE_OF_A_PART,
) -> list[Saved]:
    """As `_in_transactions`, but halves the orders whenever a product is locked. It hardly waits for
    locks."""
    if not orders:
        return []
    try:
        return [_in_one(services, orders, onward, work, patience)]
    except StockBusy:
        if len(orders) == 1:
            wait_for_stock(services.orders, step.name, orders)
            return []
    middle = len(orders) // 2
    halves = (orders[:middle], orders[middle:])
    return [saved for half in halves for saved in _in_halves(services, step, half, onward, work)]


def _in_one(
    services: StockServices, orders: Sequence[Order], onward: Sequence[Step], work: Work, patience: float
) -> Saved:
    """Does the work in one transaction."""
    unsaved: list[str] = []
    left = {order["id"]: order for order in orders}

    def whole(transaction: Transaction) -> Saved:
        changes = work(list(left.values()), transaction)
        saved = save(services.orders, changes, left, onward, transaction)
        if saved.lost:
            raise _Unsaved(saved.lost)
        return saved

    while left:
        try:
            return Saved(services.transact(whole, patience).orders, unsaved)
        except _Unsaved as error:
            lost = error.order_ids
        except AlreadyMoved:
            # Another process may have done the step for some orders after they were loaded.
            present = {order["id"]: order["version"] for order in services.orders.store.load(left)}
            lost = [
                order_id
                for order_id, order in left.items()
                if present.get(order_id) != order.get("storedVersion", order["version"])
            ]
            if not lost:
                raise
        unsaved += lost
        left = {order_id: order for order_id, order in left.items() if order_id not in lost}
    return Saved(lost=unsaved)


# The function that does each step.
EFFECTS = {
    DECREMENT: decrement,
    RESTOCK_CANCELLED: restock_cancelled,
    RESTOCK: restock,
    RESTOCK_REFUNDED: restock_refunded,
    RESTOCK_RETURNED: restock_returned,
}
