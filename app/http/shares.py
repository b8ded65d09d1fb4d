"""No caller takes more than a share of what a web process has little of: waiting requests and unread answers.

Each process counts for itself.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, current_app, request

from app.http.limits import counted_as
from app.http.problems import problem

ALL_WAITS = 200
UNREAD_BYTES = 4 * 1024 * 1024
# The kernel takes what is smaller off the process at once, whether or not the client reads it.
_SMALL_BYTES = 64 * 1024
_RETRY_AFTER = {"Retry-After": "5"}


class Shares:
    """How much of something each caller has; one caller may have `each`, all of them `together`."""

    def __init__(self, each: int, together: float = float("inf")) -> None:
        self._each = each
        self._together = together
        self._taken: Counter[str] = Counter()

    def has_room(self, caller: str, amount: int = 1) -> bool:
        """Whether the caller may have so much more. A caller that has nothing may exceed its share once."""
        taken = self._taken.get(caller, 0)
        fits = taken + amount <= self._each or (not taken and self._each > 0)
        return fits and self._taken.total() + amount <= self._together

    def take(self, caller: str, amount: int = 1) -> None:
        """Counts so much more for the caller."""
        self._taken[caller] += amount

    def give_back(self, caller: str, amount: int = 1) -> None:
        """Counts so much less for the caller."""
        self._taken[caller] -= amount
        if self._taken[caller] <= 0:
            del self._taken[caller]


def init_app(app: Flask) -> None:
    """Refuses large answers to callers that have too many unread ones already."""
    unread = Shares(UNREAD_BYTES)
    app.extensions["waits"] = Shares(app.extensions["services"].settings.waits_per_caller, ALL_WAITS)

    def limit(response: Response) -> Response:
        size = response.content_length or 0
        if size <= _SMALL_BYTES or response.direct_passthrough or request.method == "HEAD":
            return response
        caller = counted_as()
        # The answer to a change is never withheld, since the change is made.
        if request.method == "GET" and not unread.has_room(caller, size):
            detail = f"The caller has more than {UNREAD_BYTES} bytes of unread responses. Read them first."
            return problem("too_many_requests", detail, headers=_RETRY_AFTER)
        unread.take(caller, size)
        response.call_on_close(lambda: unread.give_back(caller, size))
        return response

    app.after_request(limit)


@contextmanager
def waiting(seconds: float | None) -> Iterator[float | None]:
    """The seconds for which this request may wait within; None where its caller has too many waiting."""
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
