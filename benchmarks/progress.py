"""How far a contender is with its orders, read from its database.

The question that is asked while the clock runs costs the database the same, however many orders there are.
The answer does not depend on the rows that the service keeps beside an order.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from benchmarks.stage import Contender

LOOK_EVERY = 0.1
GIVE_UP_AFTER = 180


class Progress(NamedTuple):
    """`busy`: whether an order is unfinished, in constant time. `finished`: the number of confirmed and
    announced orders, by reading all of them."""

    busy: Callable[[Database[dict[str, Any]]], bool]
    finished: Callable[[Database[dict[str, Any]]], int]


def _owes(database: Database[dict[str, Any]]) -> bool:
    return database.orders.find_one({"dueBy": {"$exists": True}}, {"_id": 1}) is not None


def _confirmed_and_announced(database: Database[dict[str, Any]]) -> int:
    announced = {"$gte": ["$announced", "$publicVersion"]}
    return database.orders.count_documents({"status": "confirmed", "$expr": announced})


def _lacks_notifications(database: Database[dict[str, Any]]) -> bool:
    announced = database.notifications.estimated_document_count()
    return announced < database.orders.estimated_document_count()


def _confirmed_and_notified(database: Database[dict[str, Any]]) -> int:
    return min(
        database.orders.count_documents({"status": "confirmed"}),
        database.notifications.count_documents({"type": "order.confirmed"}),
    )


# An order of the service has `dueBy` until it owes nothing more; the sweep has an index of it.
SERVICE = Progress(_owes, _confirmed_and_announced)
# The last job of a rival's order writes its notification.
BULLMQ = Progress(_lacks_notifications, _confirmed_and_notified)


def await_finished(one: Contender) -> None:
    """Wait until every stored order is confirmed and announced. Raises Failed if that takes too long."""
    deadline = time.monotonic() + GIVE_UP_AFTER
    while one.progress.busy(one.database):
        if time.monotonic() > deadline:
            raise Failed(f"{one.name} did not finish {one.orders():,} orders in {GIVE_UP_AFTER} s")
        time.sleep(LOOK_EVERY)
