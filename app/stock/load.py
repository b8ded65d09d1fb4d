"""Sets any number of stock levels, all or none.

Up to a part's worth goes in one transaction. More would not fit into the database's cache: such a load is
recorded in one write, which decides, and then comes into force part by part, each in a transaction that also
takes it off the record. A load that is cut off is finished by beat, or by the next load.
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
    """Sets the levels by product; loads that were cut off earlier are finished first.

    Raises LoadTooLarge if there are too many to record, DatabaseUnavailable: nothing is in force then, or all
    of it will be.
    """
    finish_loads(services)
    if len(levels) <= PART:
        set_levels(services, levels)
        progress(len(levels), len(levels))
        return
    rest = iter(sorted(levels.items()))
    load_id = services.loads.begin(iter(lambda: dict(islice(rest, PART)), {}), services.clock())
    done = 0
    while taken := _put_into_force(services, load_id):
        done += taken
        progress(done, len(levels))


def finish_loads(services: StockServices) -> int:
    """Finishes the loads that were cut off, oldest first; says how many.

    One that cannot be finished by a fault of ours is logged, and holds up no other.
    """
    return len(each_apart(services.loads.unfinished(), partial(_finish, services), _cannot_finish))


def _finish(services: StockServices, load_id: str) -> None:
    while _put_into_force(services, load_id):
        pass


def _cannot_finish(load_id: str, error: Exception) -> None:
    log.error("stock load cannot be finished", load=load_id, exc_info=error)


def _put_into_force(services: StockServices, load_id: str) -> int:
    """Sets the levels of the load's next part; says how many, 0 once the load is finished."""

    def work(transaction: Transaction) -> int:
        part = services.loads.take(load_id, transaction)
        if part is None:
            return 0
        set_levels(replace(services, transact=lambda joined: joined(transaction)), part)
        return len(part)

    taken: int = services.transact(work)
    return taken
