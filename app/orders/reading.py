"""Isolates a damaged order: an error while reading it is logged and becomes OrderUnreadable."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from app.errors import OrderUnreadable

log = structlog.get_logger(__name__)


@contextmanager
def reading(order_id: str) -> Iterator[None]:
    """Turns any exception in the block into OrderUnreadable. The block works on this one order, in memory."""
    try:
        yield
    except OrderUnreadable:
        raise
    except Exception as error:
        log.exception("order cannot be read", order_id=order_id)
        raise OrderUnreadable(order_id) from error
