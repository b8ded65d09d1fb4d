"""Reads the primary's time, and its faults, from the driver's heartbeats.

They carry the primary's time every two seconds. Between two of them the time since the machine's start counts
on, so a wrong or corrected clock of the machine changes nothing.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from pymongo.database import Database
from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

log = structlog.get_logger()

# A minute of heartbeats.
_SAMPLES = 30
# Seconds: a machine's clock that differs by more is reported, and how often it is reported again.
TOLERANCE = 1.0
_REMINDER = 300.0
# A clock that goes on while the machine sleeps, if the system has one.
_SINCE_START = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Heartbeats(ServerHeartbeatListener):
    """Notes the primary's time from a client's heartbeats; `report` is given the skew at each, in seconds.

    The skew is how far this machine's clock, `machine_clock`, is ahead of the primary's. `standalone` is the
    address of a server that is no member of a set. If the URI asks for a set, the driver takes
    such a server for one that is away.
    """

    def __init__(self) -> None:
        self.standalone: str | None = None
        self.report: Callable[[float], None] = lambda _: None
        self.machine_clock: Callable[[], float] = time.time
        self._primary: Any = None
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self._offset: float | None = None
        self._said_at: float | None = None

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """A heartbeat that begins carries no time."""

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """A heartbeat that fails carries no time."""

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Notes the time of the reply, if it is the primary's."""
        received = time.clock_gettime(_SINCE_START)
        reply = event.reply.document
        self.standalone = "{}:{}".format(*event.connection_id) if is_standalone(reply) else None
        if not event.reply.is_writable or "localTime" not in reply:
            return
        if event.connection_id != self._primary:
            self._primary = event.connection_id
            self._samples.clear()
        self._samples.append(reply["localTime"].replace(tzinfo=UTC).timestamp() - received)
        # A slow reply makes a sample too small. Nothing makes a sample too large.
        self._offset = max(self._samples)
        skew = self.machine_clock() - (time.clock_gettime(_SINCE_START) + self._offset)
        self.report(skew)
        self._say(skew)

    def now(self) -> datetime | None:
        """The primary's time, truncated to the millisecond. None before the first heartbeat."""
        if self._offset is None:
            return None
        milliseconds = int((time.clock_gettime(_SINCE_START) + self._offset) * 1000)
        return datetime.fromtimestamp(milliseconds / 1000, UTC)

    def _say(self, skew: float) -> None:
        moment = time.monotonic()
        if abs(skew) <= TOLERANCE:
            if self._said_at is not None:
                log.info("the clock agrees with the database's again", skew=round(skew, 3))
            self._said_at = None
        elif self._said_at is None or moment - self._said_at > _REMINDER:
            self._said_at = moment
            log.warning("the clock is wrong, the database's is used instead", skew=round(skew, 3))


def heartbeats_of(database: Database[Any]) -> Heartbeats:
    """The heartbeats of the database's client."""
    listeners = database.client.options.event_listeners
    (found,) = [one for one in listeners if isinstance(one, Heartbeats)]
    return found


def is_standalone(hello: Mapping[str, Any]) -> bool:
    """Whether the answer comes from a server that is neither a member of a replica set nor a router."""
    return not ("setName" in hello or "isreplicaset" in hello or hello.get("msg") == "isdbgrid")
