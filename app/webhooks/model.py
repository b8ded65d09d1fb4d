"""The rules of webhooks: the subscriptions of endpoints, the retry schedule, and the meaning of answers."""

import hashlib
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import IPv6Address
from typing import Literal, NamedTuple, NotRequired, TypedDict, get_args

from app.orders.events import PUBLIC

TEST = "webhook.test"

# The subscriptions of an endpoint: all events, all events of one kind, or one event.
PATTERNS = ("*", *sorted({f"{event_type.partition('.')[0]}.*" for event_type in PUBLIC}), *sorted(PUBLIC))

# The wait after each failed attempt. One last attempt follows the last wait.
WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
_SPREAD = 0.2
LONGEST_WAIT = timedelta(hours=24)

# How long a replaced secret still signs, and the most secrets at once.
OVERLAP = timedelta(hours=24)
MOST_SECRETS = 5

# An endpoint keeps the records of this many newest test events, and gets at most this many in a minute.
MOST_TESTS = 10
TEST_WINDOW = timedelta(minutes=1)

_LABEL = "[A-Za-z0-9_-]{1,63}"
# It allows no user, password or fragment, and nothing that two parsers could read differently. The pattern is
# valid in ECMAScript, too.
URL_PATTERN = (
    rf"^(https?)://({_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])"
    r'(?::([1-9][0-9]{0,4}))?((?:[/?][!-"$-\[\]-~]*)?)$'
)
_URL = re.compile(URL_PATTERN, re.ASCII)
_PORTS = {"http": 80, "https": 443}

Status = Literal["pending", "delivered", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)

# The content of webhooks: the whole order as the API shows it, or only its id.
FULL, IDS = "full", "ids"
PAYLOADS = (FULL, IDS)


class Secret(TypedDict):
    """A secret that signs webhooks. `until` is present once it is replaced."""

    secret: str
    until: NotRequired[datetime]


class SentTest(TypedDict):
    """A test event in an endpoint's record: the id of its delivery, and its time."""

    id: str
    at: datetime


class Endpoint(TypedDict):
    """A receiver of webhooks.

    `secrets` and `tests` have the newest first. `disabledReason` is `requested` or `gone`. `slot` is a unique
    number below the limit of endpoints. `owner` is the caller that created it. `payload` is one of PAYLOADS
    and never changes; a missing value means FULL.
    """

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
    """One attempt: the status of the answer, or a code for the error."""

    at: datetime
    milliseconds: int
    statusCode: NotRequired[int]
    error: NotRequired[str]


class Delivery(TypedDict):
    """The delivery of one event to one endpoint. Its id is the `webhook-id` of every attempt.

    `failures` counts the failed attempts since the delivery was recorded or replayed. `dueBy` is present
    while it is pending, `claim` during an attempt, and `endedAt` once it has ended. A test event has no order
    and no sequence.
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
    """The result of a request: the status of the answer, or a code for the error."""

    status_code: int | None
    error: str = ""
    retry_after: str | None = None


class Target(NamedTuple):
    """The parts of an endpoint's URL. `host` has no brackets. `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str
    authority: str


def target_of(url: str) -> Target | None:
    """The parts of a URL; None if webhooks cannot be sent to it."""
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
    """Whether the endpoint subscribes to an event of this type and time. It gets no events before its
    creation."""
    kind = f"{event_type.partition('.')[0]}.*"
    return at >= endpoint["createdAt"] and not {"*", kind, event_type}.isdisjoint(endpoint["events"])


def delivery_id(order_id: str, sequence: int, endpoint_id: str, at: datetime) -> str:
    """The id (32 hex digits) for the delivery of an order's event to an endpoint. Ids sort by time."""
    digest = hashlib.sha256(f"{order_id}:{sequence}:{endpoint_id}".encode()).hexdigest()
    return f"{round(at.timestamp() * 1000):012x}{digest[:20]}"


def kept_since(now: datetime, retention_days: int) -> datetime:
    """The retention time: all deliveries of events since then are kept.

    A delivery is removed if it ended before this time. It never ends before its event.
    """
    return now - timedelta(days=retention_days)


def rotated(secrets: Sequence[Secret], new: str, now: datetime) -> list[Secret]:
    """The secrets with the new one first. The older ones sign for another day."""
    replaced = [Secret(secret=old["secret"], until=old.get("until", now + OVERLAP)) for old in secrets]
    return [Secret(secret=new), *(old for old in replaced if old["until"] > now)][:MOST_SECRETS]


def signing(secrets: Sequence[Secret], now: datetime) -> list[str]:
    """The secrets that are valid now, the newest first."""
    return [secret["secret"] for secret in secrets if "until" not in secret or secret["until"] > now]


def meaning(answer: Answer) -> Literal["taken", "gone", "refused"]:
    """The meaning of the answer. A redirect counts as refused."""
    if answer.status_code == 410:
        return "gone"
    return "taken" if answer.status_code is not None and 200 <= answer.status_code < 300 else "refused"


def next_attempt(failures: int, now: datetime, retry_after: str | None) -> datetime | None:
    """The time of the next attempt after this many failures (at least one); None after the last attempt.

    It follows the schedule, ±20%. If the receiver's `Retry-After` is later, that counts, up to a day.
    """
    if failures > len(WAITS):
        return None
    spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - not a secret
    return now + max(WAITS[failures - 1] * spread, min(_asked(retry_after, now), LONGEST_WAIT))


def _asked(header: str | None, now: datetime) -> timedelta:
    """The wait in a `Retry-After` header (RFC 9110); zero if the header is missing or invalid."""
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return timedelta(seconds=int(text))
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, OverflowError):
        return timedelta()
