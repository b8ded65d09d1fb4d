"""Limits the waiting requests and unread answers of each caller in a web process.

Every process counts separately.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, current_app, request

from app.http.limits import counted_as
from app.http.problems import problem

ALL_WAITS = 200
UNREAD_BYTES = 4 * 1024 * 1024
# The kernel buffers smaller answers at once, whether or not the client reads them.
_SMALL_BYTES = 64 * 1024
_RETRY_AFTER = {"Retry-After": "5"}


class Shares:
    """Amounts by caller: at most `each` for one caller and `together` for all callers."""

    def __init__(self, each: int, together: float = float("inf")) -> None:
        self._each = each
        self._together = together
        self._taken: Counter[str] = Counter()

    def has_room(self, caller: str, amount: int = 1) -> bool:
        """Whether the caller may take `amount` more. A caller that has nothing may exceed its share once."""
        taken = self._taken.get(caller, 0)
        fits = taken + amount <= self._each or (not taken and self._each > 0)
        return fits and self._taken.total() + amount <= self._together

    def take(self, caller: str, amount: int = 1) -> None:
        """Adds `amount` to the caller's share."""
        self._taken[caller] += amount

    def give_back(self, caller: str, amount: int = 1) -> None:
        """Subtracts `amount` from the caller's share."""
        self._taken[caller] -= amount
        if self._taken[caller] <= 0:
            del self._taken[caller]


def init_app(app: Flask) -> None:
    """Refuses large answers to callers with too many unread answers."""
    unread = Shares(UNREAD_BYTES)
    app.extensions["waits"] = Shares(app.extensions["services"].settings.waits_per_caller, ALL_WAITS)

    def limit(response: Response) -> Response:
        size = response.content_length or 0
        if size <= _SMALL_BYTES or response.direct_passthrough or request.method == "HEAD":
            return response
        caller = counted_as()
        # The answer to a change is always sent, because the change has been made.
        if request.method == "GET" and not unread.has_room(caller, size):
            detail = f"The caller has more than {UNREAD_BYTES} bytes of unread responses. Read them first."
            return problem("too_many_requests", detail, headers=_RETRY_AFTER)
        unread.take(caller, size)
        response.call_on_close(lambda: unread.give_back(caller, size))
        return response

    app.after_request(limit)


@contextmanager
def waiting(seconds: float | None) -> Iterator[float | None]:
    """The seconds that this request may wait; None if its caller has too many waiting requests."""
    waits: Shares = current_app.extensions["waits"]
    caller = counted_as()
    if seconds is None or not waits.has_room(caller):
        yield None
        return
    waits.take(caller)
    try:
        yield seconds
    finally:
        waits.give_back(caller)
