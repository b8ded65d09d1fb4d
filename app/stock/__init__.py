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
    """The collaborators of the stock functions.

    `transact` runs its argument in one database transaction. With a number as second argument, it raises
    StockBusy after that many seconds of write conflicts. A product without a stock record is out of stock if
    `strict`; otherwise it never runs out.
    """

    orders: OrderServices
    store: Stock
    loads: StockLoads
    transact: Callable[..., Any]
    clock: Clock
    strict: bool
