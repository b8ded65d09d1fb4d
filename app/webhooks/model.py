"""What a webhook is: who wants to hear of what, when it is tried again, and what the answer to it means."""

import hashlib
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import IPv6Address
from typing import Literal, NamedTuple, NotRequired, TypedDict

from app.orders.events import PUBLIC

TEST = "webhook.test"

# What an endpoint may ask for: everything, all events of one kind, or one event.
PATTERNS = ("*", *sorted({f"{event_type.partition('.')[0]}.*" for event_type in PUBLIC}), *sorted(PUBLIC))

# The waits after the first failed attempt and those that follow; after the last of them there is one more.
WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
_SPREAD = 0.2
LONGEST_WAIT = timedelta(hours=24)

# How long a secret that was replaced goes on signing, and how many there are at once.
OVERLAP = timedelta(hours=24)
MOST_SECRETS = 5

# An endpoint keeps the records of its newest test events only, and gets that many in a minute at most.
MOST_TESTS = 10
TEST_WINDOW = timedelta(minutes=1)

_LABEL = "[A-Za-z0-9_-]{1,63}"
# No user, password or fragment, and nothing that two parsers could read in two ways. It is valid in
# ECMAScript, too.
URL_PATTERN = (
    rf"^(https?)://({_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])"
    r'(?::([1-9][0-9]{0,4}))?((?:[/?][!-"$-\[\]-~]*)?)$'
)
_URL = re.compile(URL_PATTERN, re.ASCII)
_PORTS = {"http": 80, "https": 443}

Status = Literal["pending", "delivered", "failed"]

# What webhooks tell of an order: all of it as the API shows it, or its id alone.
FULL, IDS = "full", "ids"
PAYLOADS = (FULL, IDS)


class Secret(TypedDict):
    """What signs; `until` is there once it was replaced."""

    secret: str
    until: NotRequired[datetime]


class SentTest(TypedDict):
    """A test event that an endpoint keeps the record of: the id of its delivery, and its time."""

    id: str
    at: datetime


class Endpoint(TypedDict):
    """Where webhooks go. The newest secret and the newest of `tests` come first; `disabledReason` is
    `requested` or `gone`. `slot` is one of as many numbers as there may be endpoints. `owner` is the caller
    that made it. `payload` is one of PAYLOADS and never changes; where it is missing it is FULL."""

    id: str
    url: str
    events: list[str]
    enabled: bool
    secrets: list[Secret]
    createdAt: datetime
    updatedAt: datetime
    disabledReason: NotRequired[str]
    owner: NotRequired[str]
    payload: NotRequired[str]
    slot: NotRequired[int]
    tests: NotRequired[list[SentTest]]


class Attempt(TypedDict):
    """One try: the status that came back, or a word for why none did."""

    at: datetime
    milliseconds: int
    statusCode: NotRequired[int]
    error: NotRequired[str]


class Delivery(TypedDict):
    """One event to be told to one endpoint; its id is the `webhook-id` of every attempt.

    `failures` counts the failed attempts since it was recorded or replayed; `dueBy` is there while it is
    pending, `claim` while somebody tries, and `endedAt` once it has ended. A test event has neither order nor
    sequence.
    """

    id: str
    endpointId: str
    type: str
    at: datetime
    status: Status
    attempts: list[Attempt]
    failures: int
    orderId: NotRequired[str]
    sequence: NotRequired[int]
    dueBy: NotRequired[datetime]
    claim: NotRequired[str]
    endedAt: NotRequired[datetime]
    reason: NotRequired[str]


class Answer(NamedTuple):
    """What came of a request: a status, or a word for why there is none."""

    status_code: int | None
    error: str = ""
    retry_after: str | None = None


class Target(NamedTuple):
    """The parts of an endpoint's URL; `host` without brackets, `path` with the query."""

    scheme: str
    host: str
    port: int
    path: str
    authority: str


def target_of(url: str) -> Target | None:
    """The parts of a URL that webhooks can go to; None where they cannot."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host, port, path = match.groups()
    number = int(port) if port else _PORTS[scheme]
    if number > 65535 or (host.startswith("[") and not _is_ipv6(host[1:-1])):
        return None
    authority = f"{host}:{port}" if port else host
    path = path if path.startswith("/") else f"/{path}"
    return Target(scheme, host.strip("[]"), number, path, authority)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def wants(endpoint: Endpoint, event_type: str, at: datetime) -> bool:
    """Whether an event of that type and time is told to the endpoint: it hears of nothing before its time."""
    kind = f"{event_type.partition('.')[0]}.*"
    return at >= endpoint["createdAt"] and not {"*", kind, event_type}.isdisjoint(endpoint["events"])


def delivery_id(order_id: str, sequence: int, endpoint_id: str, at: datetime) -> str:
    """The one id (32 hex digits) of the delivery of an order's event to an endpoint; ids sort by time."""
    told = hashlib.sha256(f"{order_id}:{sequence}:{endpoint_id}".encode()).hexdigest()
    return f"{round(at.timestamp() * 1000):012x}{told[:20]}"


def kept_since(now: datetime, retention_days: int) -> datetime:
    """The time since which the deliveries of all events are kept; those of an earlier event may be removed.

    A delivery is removed when it ended before this time, and it ends no sooner than its event.
    """
    return now - timedelta(days=retention_days)


def rotated(secrets: Sequence[Secret], new: str, now: datetime) -> list[Secret]:
    """The secrets with a new one in front; those before it sign for a day more."""
    replaced = [Secret(secret=old["secret"], until=old.get("until", now + OVERLAP)) for old in secrets]
    return [Secret(secret=new), *(old for old in replaced if old["until"] > now)][:MOST_SECRETS]


def signing(secrets: Sequence[Secret], now: datetime) -> list[str]:
    """The secrets that sign now, the newest first."""
    return [secret["secret"] for secret in secrets if "until" not in secret or secret["until"] > now]


def meaning(answer: Answer) -> Literal["taken", "gone", "refused"]:
    """What the answer says; a redirect is a refusal."""
    if answer.status_code == 410:
        return "gone"
    return "taken" if answer.status_code is not None and 200 <= answer.status_code < 300 else "refused"


def next_attempt(failures: int, now: datetime, retry_after: str | None) -> datetime | None:
    """When to try again after so many failures, at least one; None when that was the last attempt.

    The schedule, ±20%, or what the receiver asked for where that is later, up to a day.
    """
    if failures > len(WAITS):
        return None
    spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - not a secret
    return now + max(WAITS[failures - 1] * spread, min(_asked(retry_after, now), LONGEST_WAIT))


def _asked(header: str | None, now: datetime) -> timedelta:
    """What a `Retry-After` (RFC 9110) asks for; nothing where it cannot be understood."""
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return timedelta(seconds=int(text))
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, OverflowError):
        return timedelta()
