"""Stores that write nothing: one stops a command at its write, the others accept the writes of its steps."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from app.errors import NotAllowed
from app.mongo.database import Transaction
from app.orders.beside_store import CommandKey, CommandKeys, Idempotency, QuoteUse
from app.orders.history import as_of
from app.orders.model import Order
from app.orders.store import KeyTaken, Orders, QuoteTaken
from app.stock.model import Movement, Supply
from app.stock.store import Stock

# The transaction of steps that are done in memory alone.
NO_TRANSACTION: Any = None


class WouldWrite(BaseException):
    """The command has got to its write: it would make `after` out of `before`, which is None for a new order.

    It is not an Exception, so nothing on the way takes it for a failure.
    """

    def __init__(self, before: Order | None, after: Order) -> None:
        super().__init__()
        self.before = before
        self.after = after


class OrdersUnwritten(Orders):
    """The same orders. Each write of a command raises WouldWrite instead.

    `last_read` is the order that the command read last. If the command succeeds without a write, it answers
    about that order. `known` is the order that the command is about, if it was read before.
    """

    last_read: Order | None = None

    def __init__(self, orders: Orders, known: Order | None = None) -> None:
        vars(self).update(vars(orders))
        self._known = known

    def add(
        self,
        order: Order,
        due_by: datetime,
        idempotency: Idempotency | None,
        quote: QuoteUse | None = None,
        *_: Any,
    ) -> NoReturn:
        """Raises as the real one does, and then WouldWrite."""
        if not self._is_ours(order):
            raise NotAllowed("orders:admin")
        if idempotency and super().under_key(idempotency.caller, idempotency.key):
            raise KeyTaken
        if quote and self.is_used(quote):
            raise QuoteTaken
        raise WouldWrite(None, order)

    def append(self, before: Order, after: Order, *_: Any, **__: Any) -> NoReturn:
        """Raises WouldWrite."""
        raise WouldWrite(before, after)

    def under_key(self, caller: str, key: str) -> tuple[Order, Idempotency] | None:
        """As the real one. A first answer that is still open shows version 1, since no dry run waits."""
        found = super().under_key(caller, key)
        if found is None:
            return None
        order, posted = found
        posted = posted._replace(answered=posted.answered or 1)
        self.last_read = as_of(order, posted.answered or 1)
        return order, posted

    def fix_answer(self, order_id: str, version: int) -> int:
        """Fixes nothing."""
        return version

    def _find(self, *args: Any) -> Order | None:
        self.last_read = self._known or super()._find(*args)
        return self.last_read


class KeysUnwritten(CommandKeys):
    """The same keys. `answered` is the version of the first answer if an earlier command had the key."""

    answered: int | None = None

    def __init__(self, keys: CommandKeys) -> None:
        vars(self).update(vars(keys))

    def find(self, order_id: str, caller: str, key: str) -> CommandKey | None:
        """As the real one."""
        found = super().find(order_id, caller, key)
        self.answered = found and found.version
        return found

    def keep(self, order: Order, key: CommandKey) -> bool:
        """Keeps nothing."""
        return True

    def forget(self, order_id: str, made: str) -> None:
        """Erases nothing."""


class OrdersInMemory:
    """Accepts the writes of the steps. The orders are in memory alone."""

    def append_all(self, *_: Any, **__: Any) -> list[str]:
        """Writes nothing, so no other process is ever faster."""
        return []

    def held_from_capture(self, *_: Any) -> set[str]:
        """No orders, since no other process places a hold."""
        return set()


class StockInMemory(Stock):
    """The present stock, with the movements that the steps make in memory. Reads without a transaction."""

    def __init__(self, stock: Stock) -> None:
        vars(self).update(vars(stock))
        self.moved: list[Movement] = []

    def on_hand(self, product_ids: Iterable[str], transaction: Transaction) -> dict[str, int]:
        """The quantity on hand of each product that is tracked."""
        present = super().on_hand(product_ids, NO_TRANSACTION)
        for row in self.moved:
            if row["productId"] in present:
                present[row["productId"]] += row["quantity"]
        return present

    def supply(self, product_ids: Iterable[str], transaction: Transaction) -> Supply:
        """The quantity on hand of each product that is tracked, as if all stock that came were dealt."""
        return Supply(self.on_hand(product_ids, transaction), set())

    def begin_waiting(self, product_ids: Iterable[str], transaction: Transaction) -> None:
        """Marks nothing."""

    def held_by(self, order_ids: Sequence[str], transaction: Transaction) -> dict[str, dict[str, int]]:
        """The quantity of each product that these orders have taken and not put back."""
        held = super().held_by(order_ids, NO_TRANSACTION)
        for row in self.moved:
            lines = held.setdefault(row["orderId"], {})
            lines[row["productId"]] = lines.get(row["productId"], 0) - row["quantity"]
        return held

    def move(
        self, deltas: Mapping[str, int], movements: Sequence[Movement], at: datetime, transaction: Transaction
    ) -> None:
        """Keeps the movements in memory."""
        self.moved += movements
