"""Times: aware, in UTC and whole milliseconds, as MongoDB stores them and the API shows them."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def now() -> datetime:
    """The present time, cut to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def to_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2024-10-04T10:00:00.000Z`."""
    # isoformat ends in "+00:00". The original service sent a Z.
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


def to_millis(moment: datetime) -> int:
    """The milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def from_millis(millis: int) -> datetime:
    """The time so many milliseconds after 1970."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=millis)


def id_at(moment: datetime, tail: int = 0) -> str:
    """The smallest id (24 hex digits) that an order of this millisecond can have, plus `tail`.

    An id is a valid ObjectId: four bytes of seconds, then ten bits of milliseconds, then 54 bits that make
    it unique. So ids sort by creation time, and one index on them serves as the index on `createdAt`.
    """
    seconds, millis = divmod(to_millis(moment), 1000)
    return f"{seconds << 64 | millis << 54 | tail:024x}"


def moment_of(order_id: str) -> datetime:
    """The second in which the order with this id was created."""
    return datetime.fromtimestamp(int(order_id[:8], 16), UTC)


def new_id(moment: datetime) -> str:
    """A new unique id. Ids sort by time."""
    return id_at(moment, secrets.randbits(54))
