"""Times are aware, in UTC and whole milliseconds, which is what MongoDB keeps and the API says."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def now() -> datetime:
    """The present moment, cut to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def to_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2024-10-04T10:00:00.000Z`."""
    # isoformat on an aware moment ends in "+00:00"; a Z is shorter and what the original service sent.
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


def id_at(moment: datetime, tail: int = 0) -> str:
    """The least id (24 hex digits) that an order made at that millisecond can have, plus `tail`.

    An id is a valid ObjectId: four bytes of seconds, then ten bits of milliseconds, then 54 bits that make
    it unique. So ids sort by creation time, and one index on them serves as the index on `createdAt`.
    """
    seconds, millis = divmod(round(moment.timestamp() * 1000), 1000)
    return f"{seconds << 64 | millis << 54 | tail:024x}"


def moment_of(order_id: str) -> datetime:
    """The second in which the order with this id was made."""
    return datetime.fromtimestamp(int(order_id[:8], 16), UTC)


def new_id(moment: datetime) -> str:
    """A new unique id that sorts by its moment."""
    return id_at(moment, secrets.randbits(54))
