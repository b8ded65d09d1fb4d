"""Orders as the original service stored them, and the migrations run over them."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from app.migrations import upgrade
from app.orders.log import first_bad_sequence

if TYPE_CHECKING:
    from app.config import Settings
    from app.migrations import Progress
    from app.orders.model import Order

CREATED, UPDATED = datetime(2023, 5, 1, 12, tzinfo=UTC), datetime(2023, 5, 3, 9, tzinfo=UTC)


def original_order(number: int, **changes: Any) -> dict[str, Any]:
    """An order as the original service stored it."""
    return {
        "_id": ObjectId(),
        "userId": f"user-{number}",
        "products": [{"productId": f"product-{number}", "quantity": 2, "_id": ObjectId()}],
        "totalAmount": 200.0,
        "status": ("pending", "shipped", "delivered")[number % 3],
        "createdAt": CREATED,
        "updatedAt": UPDATED,
        "__v": 0,
        **changes,
    }


def run_migrations(
    database: Any, settings: Settings, progress: Progress = lambda *_: None, **options: Any
) -> list[Any]:
    """Runs the pending migrations, and returns their results."""
    return list(upgrade(database, settings, lambda _: nullcontext(progress), **options))


def upgrade_names(database: Any, settings: Settings, *progress: Progress, **options: Any) -> list[str]:
    """The names of the migrations that are run now."""
    return [done.name for done in run_migrations(database, settings, *progress, **options)]


def intact_orders(database: Any) -> int:
    """How many orders there are, all of them with logs that verify."""
    orders: list[Order] = list(database["orders"].find())
    assert all(first_bad_sequence(str(order["_id"]), order["events"]) is None for order in orders)  # type: ignore[typeddict-item]
    return len(orders)
