"""Isolates a damaged order: an error while reading it is logged and becomes OrderUnreadable."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import structlog

from app.errors import OrderServiceError, OrderUnreadable
from app.orders import OrderServices

Rest = ParamSpec("Rest")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@contextmanager
def reading(order_id: str, passing: type[OrderServiceError] = OrderUnreadable) -> Iterator[None]:
    """Turns any exception in the block into OrderUnreadable, except those of the type `passing`.

    The block works on this one order. A block that only reads it in memory needs no `passing`: there, even a
    refusal such as IllegalTransition comes from a damaged log.
    """
    try:
        yield
    except passing:
        raise
    except Exception as error:
        log.exception("order cannot be read", order_id=order_id)
        raise OrderUnreadable(order_id) from error


def reads_order(
    operation: Callable[Concatenate[OrderServices, str, Rest], Result],
) -> Callable[Concatenate[OrderServices, str, Rest], Result]:
    """Decorates an operation on one order, so that it raises OrderUnreadable if the order is damaged.

    The database refuses a change of a document that breaks its rules. So that raises OrderUnreadable, too.
    """

    @wraps(operation)
    def guarded(services: OrderServices, order_id: str, /, *args: Rest.args, **named: Rest.kwargs) -> Result:
        with reading(order_id, OrderServiceError):
            return operation(services, order_id, *args, **named)

    return guarded
