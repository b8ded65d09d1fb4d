"""The collaborators that every service function is given, put together once at the composition root."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from app.config import Settings
from app.domain.clock import Clock
from app.domain.notifications import Channel
from app.domain.payments import PaymentProvider
from app.storage.changes import OrderChanges
from app.storage.database import Transaction
from app.storage.notifications import Notifications
from app.storage.order_duties import OrderDuties
from app.storage.orders import Orders
from app.storage.stock import Stock
from app.storage.stock_loads import StockLoads

T = TypeVar("T")


@dataclass(frozen=True)
class Shop:
    """`transact` runs its argument in one database transaction; `probes` tell a part's state."""

    settings: Settings
    clock: Clock
    orders: Orders
    duties: OrderDuties
    stock: Stock
    loads: StockLoads
    notifications: Notifications
    payments: PaymentProvider
    channels: tuple[Channel, ...]
    transact: Callable[[Callable[[Transaction], Any]], Any]
    probes: dict[str, Callable[[], str]]
    changes: OrderChanges

    def due_by(self) -> datetime:
        """The time by which a step that is set in motion now should have been done."""
        return self.clock() + self.settings.step_deadline
