"""Isolates a failing item from the rest of its batch. All batches of the service use this."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from app.errors import DatabaseUnavailable, ProviderUnavailable

T = TypeVar("T")
R = TypeVar("R")

# If a server is unavailable, no single item is the cause.
OUTAGES = (DatabaseUnavailable, ProviderUnavailable)


def apart(
    items: Sequence[T],
    work: Callable[[Sequence[T]], Iterable[R]],
    give_up: Callable[[T, Exception], object],
) -> list[R]:
    """Does the work for all items together, and returns its results.

    If the work raises, it is repeated for each half of the items, until the failing item is alone. `give_up`
    gets that item and the exception. So the work must be safe to repeat. An outage of the database or the
    provider is raised.
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
    """As `apart`, for work on a single item, which is done once for each item."""
    return [result for item in items for result in apart([item], lambda alone: [work(alone[0])], give_up)]
