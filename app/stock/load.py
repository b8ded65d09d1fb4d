"""Sets any number of stock levels, all or none.

A small load is one transaction. A large load would not fit into the database's cache. So one write records
the whole load, and from then on it will be applied. Each of its parts is applied and removed from the record
in one transaction. Beat, or the next load, finishes an interrupted load.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice

import structlog

from app.apart import each_apart
from app.mongo.database import Transaction
from app.stock import StockServices
from app.stock.service import set_levels

log = structlog.get_logger()

PART = 2_000


def load_levels(
    services: StockServices, levels: dict[str, int], progress: Callable[[int, int], None]
) -> None:
    """Finishes interrupted loads, and then sets the levels by product.

    Raises LoadTooLarge if the levels are too many to record, DatabaseUnavailable. After DatabaseUnavailable,
    either none of the levels apply, or all of them will.
    """
    finish_loads(services)
    if len(levels) <= PART:
        set_levels(services, levels)
        progress(len(levels), len(levels))
        return
    rest = iter(sorted(levels.items()))
    load_id = services.loads.begin(iter(lambda: dict(islice(rest, PART)), {}), services.clock())
    done = 0
    while applied := _apply_next_part(services, load_id):
        done += applied
        progress(done, len(levels))


def finish_loads(services: StockServices) -> int:
    """Finishes interrupted loads, the oldest first, and returns their number.

    If one of them fails unexpectedly, it is logged and the others continue.
    """
    return len(each_apart(services.loads.unfinished(), partial(_finish, services), _cannot_finish))


def _finish(services: StockServices, load_id: str) -> None:
    while _apply_next_part(services, load_id):
        pass


def _cannot_finish(load_id: str, error: Exception) -> None:
    log.error("stock load cannot be finished", load=load_id, exc_info=error)


def _apply_next_part(services: StockServices, load_id: str) -> int:
    """Sets the levels of the load's next part and returns their number; 0 after the last part."""

    def work(transaction: Transaction) -> int:
        part = services.loads.take(load_id, transaction)
        if part is None:
            return 0
        set_levels(replace(services, transact=lambda joined: joined(transaction)), part)
        return len(part)

    applied: int = services.transact(work)
    return applied
