"""Runs a step that moves stock for a batch of orders, in as few transactions as their locks allow."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import sleep
from typing import Any

from app.clock import new_id
from app.errors import StockBusy
from app.mongo.database import Transaction
from app.orders.model import Change, Order, quantities
from app.orders.saving import Saved, save, wait_for_stock
from app.orders.steps import Step
from app.stock import StockServices
from app.stock.model import Movement, totals
from app.stock.store import AlreadyMoved

# After this many seconds of write conflicts, a batch continues without the locked products, and a part of a
# batch is halved.
_PATIENCE = 0.2
_PATIENCE_OF_A_PART = 0.05
# Seconds between two checks of a lock. A lock that is there both times probably belongs to a dead worker.
_PAUSE = 0.15

# Changes the stock for these orders in the transaction, and returns the changes of the orders. An order with
# no changes stays as it is, and an order that is missing was left out.
Work = Callable[[Sequence[Order], Transaction], Mapping[str, list[Change]]]


class _Unsaved(Exception):
    """Another process changed these orders of the batch. It rolls back the transaction."""

    def __init__(self, order_ids: Sequence[str]) -> None:
        super().__init__()
        self.order_ids = order_ids


def row(
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


def move(services: StockServices, rows: Iterable[Movement], transaction: Transaction) -> None:
    """Writes the movements, without those of nothing, and changes the levels.

    Raises LevelTooLow, AlreadyMoved.
    """
    moved = [row for row in rows if row["quantity"]]
    deltas = totals({row["productId"]: row["quantity"]} for row in moved)
    services.store.move(deltas, moved, services.clock(), transaction)


def in_transactions(
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
    _wait(services, step, [order for order in due if held & quantities(order).keys()])
    return _in_halves(services, step, free, onward, work, _PATIENCE)


def _wait(services: StockServices, step: Step, orders: Sequence[Order]) -> None:
    """Makes the step due again soon, for those of the orders for which it is due at all."""
    wait_for_stock(services.orders, step.name, [order for order in orders if step.is_due(order)])


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
    """As `in_transactions`, but halves the orders whenever a product is locked. It hardly waits for
    locks."""
    if not orders:
        return []
    try:
        return [_in_one(services, orders, onward, work, patience)]
    except StockBusy:
        if len(orders) == 1:
            _wait(services, step, orders)
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
        tried = work(list(left.values()), transaction)
        changes = {order_id: made for order_id, made in tried.items() if made}
        saved = save(services.orders, changes, left, onward, transaction)
        if saved.lost:
            raise _Unsaved(saved.lost)
        unchanged = [left[order_id] for order_id, made in tried.items() if not made]
        return Saved([*saved.orders, *unchanged])

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
