"""Acts between the writes of the service, whichever part of it makes them: a crash, or somebody else's work.

The driver reports each command before it sends it, and after its answer. If the action raises `Crash`, the
call ends there, as the end of the process would end it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.monitoring import CommandListener

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

WRITES = frozenset(("insert", "update", "delete", "findAndModify", "bulkWrite", "commitTransaction"))


class AmidWrites(CommandListener):
    """Does something once, right before or right after the nth write from now on."""

    def __init__(self) -> None:
        self._then: Callable[[], object] | None = None
        self._left = 0
        self._after = False
        self._outside = False

    def plan(
        self, then: Callable[[], object], nth: int, *, after: bool = False, outside: bool = False
    ) -> None:
        """Plans the action. With `outside` it waits for a write outside of a transaction.

        A transaction has locked what it wrote, so that another process could only wait.
        """
        self._then, self._left, self._after, self._outside = then, nth, after, outside

    def cancel(self) -> bool:
        """Drops the plan. Returns whether the action was still to come."""
        left, self._then = self._then is not None, None
        return left

    def started(self, event: CommandStartedEvent) -> None:
        """Counts a write before it is sent."""
        if self._then is None or event.command_name not in WRITES:
            return
        self._left -= 1
        if self._left <= 0 and not self._after and not (self._outside and "autocommit" in event.command):
            self._act()

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Acts after the write whose number was planned."""
        if self._after and self._then is not None and self._left <= 0 and event.command_name in WRITES:
            self._act()

    def failed(self, event: CommandFailedEvent) -> None:
        """A write that failed counts as one that was never made."""

    def _act(self) -> None:
        then, self._then = self._then, None
        assert then is not None
        then()
