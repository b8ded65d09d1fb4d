"""Orders: an order is its own log, and every change is one compare-and-set of its document."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from app.clock import Clock
    from app.observability.metrics import Metrics
    from app.observability.tracing import Tracer
    from app.orders.beside_store import CommandKeys
    from app.orders.due_store import DueWork
    from app.orders.purged_store import PurgedOrders
    from app.orders.saving import Effect
    from app.orders.search_keys_store import SearchKeys
    from app.orders.steps import Step
    from app.orders.store import Orders


@dataclass(frozen=True)
class OrderServices:
    """The collaborators of the order functions.

    `accepts` returns whether the payment provider supports a payment method. New orders take their stock
    before the payment if `stock_first`. `effects` maps each step to the
    function that does it, as in `Effect`. Each
    function in `forget` deletes the related data of orders that are about to be purged.
    """

    store: Orders
    due_work: DueWork
    command_keys: CommandKeys
    purged: PurgedOrders
    search_keys: SearchKeys
    clock: Clock
    metrics: Metrics
    tracer: Tracer
    accepts: Callable[[str | None], bool]
    effects: Mapping[Step, Effect]
    forget: Sequence[Callable[[Sequence[str]], None]]
    step_deadline: timedelta
    order_expiry: timedelta
    retention_days: int
    stock_first: bool

    def of(self, owner: str) -> OrderServices:
        """The same services, limited to the orders of one user."""
        return replace(self, store=self.store.of(owner))

    def due_by(self) -> datetime:
        """The deadline of a step that becomes due now."""
        return self.clock() + self.step_deadline
