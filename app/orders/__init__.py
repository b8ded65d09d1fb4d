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
    from app.orders.due_store import DueWork
    from app.orders.model import Order
    from app.orders.purged_store import PurgedOrders
    from app.orders.steps import Step
    from app.orders.store import Orders


@dataclass(frozen=True)
class OrderServices:
    """What orders need.

    `accepts` says whether the payment provider knows a payment method. `effects` has what each step does for
    the orders that it is due for; an effect returns the ids of the orders that another process changed first.
    `forget` removes what else is stored about orders that are purged.
    """

    store: Orders
    due_work: DueWork
    purged: PurgedOrders
    clock: Clock
    metrics: Metrics
    tracer: Tracer
    accepts: Callable[[str | None], bool]
    effects: Mapping[Step, Callable[[list[Order]], list[str]]]
    forget: Sequence[Callable[[Sequence[str]], None]]
    step_deadline: timedelta
    order_expiry: timedelta
    retention_days: int

    def of(self, owner: str) -> OrderServices:
        """The same for one user, who sees no orders but their own."""
        return replace(self, store=self.store.of(owner))

    def due_by(self) -> datetime:
        """The time by which a step that becomes due now should be done."""
        return self.clock() + self.step_deadline
