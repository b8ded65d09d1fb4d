"""Takes stock for new orders and for those that wait for it, oldest first.

Each order gets all of its lines or is passed over, and nothing is reserved for it. An order that waits was
tried with all stock that there was, so only stock that comes can serve it. Such stock is marked in its level
by the transaction that brings it. Until it is dealt to the waiting orders, a new order takes none of it
before they had their turn.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from app.apart import apart, each_apart
from app.mongo.database import Transaction
from app.observability.tracing import about
from app.orders.bounds import has_room
from app.orders.goods import open_pieces
from app.orders.model import Change, Order, quantities
from app.orders.part_cancelling import part_cancellation
from app.orders.saving import Saved, set_aside, wait_for_stock
from app.orders.service import out_of_stock
from app.orders.shortages import BACKORDER, OUT_OF_STOCK, expires_from
from app.orders.steps import DECREMENT, DECREMENT_FIRST, Step
from app.stock import StockServices
from app.stock.batches import in_transactions, move, row
from app.stock.model import Arrival, Supply, allocate
from app.stock.store import AlreadyMoved

log = structlog.get_logger()

BATCH = 500
# Longer than any transaction runs that has begun before a product was tracked.
_UNSEEN = timedelta(seconds=20)


def decrement(services: StockServices, due: list[Order], onward: Sequence[Step]) -> list[Saved]:
    """Takes the stock for all lines of each order. If a product is short, the order takes none, and is
    cancelled or waits.

    Raises AlreadyMoved if the ledger has movements of an order that do not match its lines.
    """
    return _decrement(services, DECREMENT, due, onward)


def decrement_first(services: StockServices, due: list[Order], onward: Sequence[Step]) -> list[Saved]:
    """As `decrement`, for orders that take their stock before the payment."""
    return _decrement(services, DECREMENT_FIRST, due, onward)


def deal_stock(services: StockServices) -> int:
    """Deals all stock that has come to the orders that wait for it. Returns the number of the products of
    which nothing is left to deal.

    If that fails for a product, it is logged and the others continue.
    """
    arrivals = services.store.arrivals(BATCH)
    each_apart(arrivals, lambda arrival: _deal(services, DECREMENT_FIRST, [arrival], ()), _cannot_be_dealt)
    products = {arrival.product_id for arrival in arrivals}
    left = services.store.arrivals(BATCH, products) if arrivals else []
    return len(products - {arrival.product_id for arrival in left})


def _cannot_be_dealt(arrival: Arrival, error: Exception) -> None:
    log.error("stock cannot be dealt", product_id=arrival.product_id, exc_info=error)


def _decrement(
    services: StockServices, step: Step, due: Sequence[Order], onward: Sequence[Step]
) -> list[Saved]:
    taking = _Taking(services, step)
    saved = taking.take(due, onward)
    late = [order for order in due if order["id"] in taking.undealt]
    if not late:
        return saved
    products = set[str]().union(*(taking.undealt[order["id"]] for order in late))
    return [*saved, *_deal(services, step, services.store.arrivals(BATCH, products), late)]


def _deal(
    services: StockServices, step: Step, arrivals: Sequence[Arrival], due: Sequence[Order]
) -> list[Saved]:
    """Deals the stock that has come to the orders that wait for it and to these due ones, oldest first.

    The relay sends for the steps that follow. Returns the outcomes of the due orders.
    """
    products, own = {arrival.product_id for arrival in arrivals}, {order["id"]: order for order in due}
    taking, turns = _Taking(services, step, products), _Turns(services, products, due)
    given_up, untried, outcomes = set[str](), set[str](), list[Saved]()

    def give_up(order: Order, error: Exception) -> None:
        given_up.add(order["id"])
        set_aside(services.orders, step.name, order, error)

    while turn := turns.next(taking.left):
        saved = apart(turn, lambda some: taking.take(some, ()), give_up)
        tried = {order["id"]: order for one in saved for order in one.orders}
        untried |= {order["id"] for order in turn} - tried.keys() - given_up
        turns.note(tried.values())
        for one in saved:
            orders = [order for order in one.orders if order["id"] in own]
            outcomes.append(Saved(orders, [order_id for order_id in one.lost if order_id in own]))
    # Stock of another product came meanwhile.
    wait_for_stock(services.orders, step.name, [own[key] for key in taking.undealt if key in own])
    if not untried - own.keys():
        for arrival in arrivals:
            if not _may_be_unseen(services, arrival):
                services.store.end_arrival(arrival, waits=arrival.product_id in turns.waited_for)
    return outcomes


def _may_be_unseen(services: StockServices, arrival: Arrival) -> bool:
    """Whether a transaction that has not seen the new level may still make an order wait for it."""
    return arrival.tracked_at is not None and services.clock() < arrival.tracked_at + _UNSEEN


class _Turns:
    """The orders that wait for the products and those that are due, in batches, oldest first.

    `waited_for` has the products that orders still wait for.
    """

    def __init__(self, services: StockServices, products: Collection[str], due: Sequence[Order]) -> None:
        self._services = services
        self._products = products
        self._due = list(due)
        self._after: str | None = None
        self._has_more = bool(products)
        self.waited_for: set[str] = set()

    def next(self, left: Mapping[str, int]) -> list[Order]:
        """The next batch; empty after the last. `left` is what is on hand as far as it is known."""
        waiting: list[Order] = []
        if self._has_more and not all(left.get(product) == 0 for product in self._products):
            waiting = self._services.orders.store.waiting_for(self._products, self._after, BATCH)
        elif self._has_more:
            # None of the others can be served.
            self.waited_for |= set(self._products)
        self._has_more = len(waiting) == BATCH
        self._after = waiting[-1]["id"] if waiting else None
        now = [order for order in self._due if not self._has_more or order["id"] <= waiting[-1]["id"]]
        self._due = [order for order in self._due if order not in now]
        turn = {order["id"]: order for order in (*waiting, *now)}
        return [turn[order_id] for order_id in sorted(turn)]

    def note(self, orders: Iterable[Order]) -> None:
        """Notes what these orders wait for after their turn."""
        for order in orders:
            if order["stock"]["status"] == "backordered":
                self.waited_for |= {short["productId"] for short in order["stock"]["shortages"]}


class _Taking:
    """Takes stock for batches of orders. `dealing` has the products whose stock is being dealt.

    `undealt` has the orders that were left out, each with its products whose stock has come and is not dealt.
    `left` is what was on hand after the last batch.
    """

    def __init__(self, services: StockServices, step: Step, dealing: Collection[str] = ()) -> None:
        self._services = services
        self._step = step
        self._dealing = frozenset(dealing)
        self.undealt: dict[str, set[str]] = {}
        self.left: dict[str, int] = {}

    def take(self, orders: Sequence[Order], onward: Sequence[Step]) -> list[Saved]:
        """Takes the stock of these orders. Raises AlreadyMoved."""
        try:
            return in_transactions(self._services, self._step, orders, onward, self._allot)
        except AlreadyMoved:
            if len(orders) > 1:
                raise
        return in_transactions(self._services, self._step, orders, onward, self._adopt)

    def _allot(self, orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        services = self._services
        supply = services.store.supply({p for order in orders for p in quantities(order)}, transaction)
        going = self._free(orders, supply)
        taken, short, self.left = allocate(going, supply.on_hand, strict=services.strict)
        rows = [
            row(services, "decrement", order_id, product, -quantity)
            for order_id, lines in taken.items()
            for product, quantity in lines.items()
        ]
        move(services, rows, transaction)
        changes = {
            order["id"]: self._decremented(order, short.get(order["id"], ()))
            if order["id"] in taken
            else _lacking(order, short[order["id"]])
            for order in going
        }
        waiting = (key for key, made in changes.items() if made and made[0].type == "stock.backordered")
        missing = {shortage["productId"] for key in waiting for shortage in short[key]}
        services.store.begin_waiting(missing, transaction)
        return changes

    def _free(self, orders: Sequence[Order], supply: Supply) -> Sequence[Order]:
        """The orders that need not wait for their products to be dealt."""
        undealt = supply.undealt - self._dealing
        for order in orders:
            self.undealt.pop(order["id"], None)
            if undealt and (products := undealt & quantities(order).keys()):
                self.undealt[order["id"]] = products
        return [order for order in orders if order["id"] not in self.undealt] if undealt else orders

    def _adopt(self, orders: Sequence[Order], transaction: Transaction) -> dict[str, list[Change]]:
        """Marks the order as decremented if the ledger already has exactly the movements of its lines."""
        order, services = orders[0], self._services
        wanted = quantities(order)
        tracked = services.store.on_hand(wanted, transaction)
        held = services.store.held_by([order["id"]], transaction).get(order["id"], {})
        if held != {product: quantity for product, quantity in wanted.items() if product in tracked}:
            raise AlreadyMoved("The ledger's movements of this order do not match its lines.")
        log.warning("ledger already has the order's movements", **about(order))
        return {order["id"]: self._decremented(order)}

    def _decremented(self, order: Order, shortages: Sequence[dict[str, Any]] = ()) -> list[Change]:
        """The changes of an order that takes its stock. What it lacks of it is cancelled."""
        orders = self._services.orders
        begins = orders.clock() if order.get("onShortage") == BACKORDER else expires_from(order)
        data: dict[str, Any] = {"heldUntil": begins + orders.order_expiry}
        if not shortages:
            return [Change("stock.decremented", data)]
        cut = part_cancellation(order, _cut(order, shortages), reason=OUT_OF_STOCK, ends_as=OUT_OF_STOCK)
        return [*cut, Change("stock.decremented", {**data, "shortages": [*shortages]})]


def _lacking(order: Order, shortages: list[dict[str, Any]]) -> list[Change]:
    """The changes of an order whose stock is short; none if it waits for the same as before."""
    if order.get("onShortage") != BACKORDER:
        return out_of_stock(order, shortages)
    known = order["stock"].get("shortages", ()) if order["stock"]["status"] == "backordered" else ()
    if _missing(shortages) == _missing(known) or not has_room(order, "wait"):
        return []
    return [Change("stock.backordered", {"shortages": shortages})]


def _cut(order: Order, shortages: Iterable[dict[str, Any]]) -> list[int]:
    """The pieces of each line that are cut, from the last line of a product on."""
    missing = {short["productId"]: short["requested"] - short["available"] for short in shortages}
    cut = [0] * len(order["products"])
    for place, pieces in reversed([*enumerate(open_pieces(order))]):
        product = order["products"][place]["productId"]
        cut[place] = min(pieces, missing.get(product, 0))
        missing[product] = missing.get(product, 0) - cut[place]
    return cut


def _missing(shortages: Sequence[dict[str, Any]]) -> dict[str, int]:
    return {short["productId"]: short["requested"] for short in shortages}
