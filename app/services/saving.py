"""How the outcome of a step is written: by compare-and-set, and what did not work out is due again later."""

from collections.abc import Mapping, Sequence

from app.domain.backoff import backoff
from app.domain.order import Change, Order, advance
from app.domain.steps import Step
from app.services.shop import Shop
from app.storage.database import Transaction

ACTOR = "system"


def save(
    shop: Shop,
    changes: Mapping[str, Sequence[Change]],
    orders: Mapping[str, Order],
    transaction: Transaction | None = None,
    actor: str = ACTOR,
) -> list[str]:
    """Writes the changes by order id; the ids of the orders that another process changed first."""
    at = shop.clock()
    pairs = [
        (orders[order_id], advance(orders[order_id], at, actor, made)) for order_id, made in changes.items()
    ]
    return shop.orders.append_all(pairs, shop.due_by(), transaction)


def try_later(shop: Shop, step: Step, orders: Sequence[Order]) -> None:
    """Makes the step due again after a wait that grows with every attempt."""
    if orders:
        shop.metrics.count("step_retries_total", step.name, by=len(orders))
        now = shop.clock()
        shop.duties.postpone({order["id"]: now + backoff(order.get("attempts", 0)) for order in orders})
