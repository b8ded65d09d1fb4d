"""Keeps one bad item from spoiling its batch: the one mechanism for all batches of the service."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from app.errors import DatabaseUnavailable, ProviderUnavailable

T = TypeVar("T")
R = TypeVar("R")

# A server that is away is the fault of no item.
OUTAGES = (DatabaseUnavailable, ProviderUnavailable)


def apart(
    items: Sequence[T],
    work: Callable[[Sequence[T]], Iterable[R]],
    give_up: Callable[[T, Exception], object],
) -> list[R]:
    """Does the work for all items together, and returns what it returns.

    If the work raises, it is done again for each half, down to the one item that makes it raise; `give_up`
    gets that item and the exception. So the work must be safe to repeat. An outage of the database or the
    provider goes up as it is.
    """
    if not items:
        return []
    try:
        return list(work(items))
    except OUTAGES:
        raise
    except Exception as error:
        if len(items) == 1:
            give_up(items[0], error)
            return []
    middle = len(items) // 2
    return apart(items[:middle], work, give_up) + apart(items[middle:], work, give_up)


def each_apart(
    items: Iterable[T], work: Callable[[T], R], give_up: Callable[[T, Exception], object]
) -> list[R]:
    """The same for work on one item, done once for each."""
    return [result for item in items for result in apart([item], lambda alone: [work(alone[0])], give_up)]
