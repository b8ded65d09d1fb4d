"""Stock: the level of each product, and the ledger of its movements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.clock import Clock
    from app.orders import OrderServices
    from app.stock.load_store import StockLoads
    from app.stock.store import Stock


@dataclass(frozen=True)
class StockServices:
    """What stock needs.

    `transact` runs its argument in one database transaction. If it gets a number, too, it raises StockBusy
    after so many seconds of write conflicts. `strict` says that a product without a stock
    record is out of stock, where it otherwise never runs out.
    """

    orders: OrderServices
    store: Stock
    loads: StockLoads
    transact: Callable[..., Any]
    clock: Clock
    strict: bool
