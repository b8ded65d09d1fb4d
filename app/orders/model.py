"""An order is its own log: the present state is the fold of its events, and every change adds to them.

The three axes of an order (its status, its payment, its stock) move only along the tables below, and only
by an event that names the move. An order's refunds are part of its state too, each with a small table.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, NotRequired, TypedDict

from app.errors import IllegalTransition
from app.orders import refunds
from app.orders.bounds import require_room
from app.orders.events import EVENTS
from app.orders.fields import ORDER
from app.orders.log import Event, digest, event_hash
from app.orders.states import CLIENT_STATUSES, STATUS, TRANSITIONS
from app.shapes import names


class Line(TypedDict):
    """`unitPrice` is in minor units of the order's currency."""

    productId: str
    quantity: int
    unitPrice: NotRequired[int]


class Payment(TypedDict):
    """Amounts are in minor units of the order's currency; `action` says what the customer has to do before
    the payment can go on: its `type`, and the `clientSecret` with which his browser does it."""

    status: str
    capturedAmount: int
    refundedAmount: int
    method: NotRequired[str]
    reference: NotRequired[str]
    action: NotRequired[dict[str, str]]
    failure: NotRequired[dict[str, str]]


class Stock(TypedDict):
    """`shortages` names every line that was short: `productId`, `requested`, `available`."""

    status: str
    shortages: NotRequired[list[dict[str, Any]]]


class Personal(TypedDict, total=False):
    """What is known of the customer beside the id. It stands outside the log, which holds its digest only,
    so that it can be erased and the log still verifies; `salt` keeps the digest from being guessed."""

    salt: str
    email: str
    shippingAddress: dict[str, str]
    metadata: dict[str, str]


class Origin(TypedDict):
    """The request that made an order: its id, and the W3C trace context in which its journey goes on."""

    requestId: str
    traceparent: NotRequired[str]


class Order(TypedDict):
    """The present state, and the log or its tail. `totalAmount` is in minor units; `version` is the
    sequence of the last event and `publicVersion` of the last public one; `announced` is the sequence up to
    which notifications are recorded, `dueBy` the time by which what the order owes should have been done, and
    `attempts` how often that has failed."""

    id: str
    userId: str
    products: list[Line]
    totalAmount: int
    currency: str
    status: str
    payment: Payment
    stock: Stock
    version: int
    publicVersion: int
    createdAt: datetime
    updatedAt: datetime
    events: list[Event]
    announced: NotRequired[int]
    dueBy: NotRequired[datetime]
    attempts: NotRequired[int]
    origin: NotRequired[Origin]
    reference: NotRequired[str]
    personal: NotRequired[Personal]
    refunds: NotRequired[list[refunds.Refund]]
    tracking: NotRequired[dict[str, str]]
    cancellation: NotRequired[dict[str, str]]
    deletedAt: NotRequired[datetime]


# What a new order takes over from its first event as it is.
_STANDING = names(ORDER, stored=True, personal=False, given="required") + names(
    ORDER, stored=True, personal=False, given="optional"
)


class Change(NamedTuple):
    """An event before it is in the log: its type and data."""

    type: str
    data: Mapping[str, Any] = MappingProxyType({})


def digest_of(personal: Personal) -> str:
    """The salted digest of the personal data that the log holds in their place."""
    return digest(personal)


def create(order_id: str, at: datetime, actor: str, data: dict[str, Any], personal: Personal | None) -> Order:
    """A new order at version 1.

    `data` is what `order.created` says: userId, products, totalAmount (minor units), currency, and
    optionally paymentMethod and reference.
    """
    if personal:
        data = {**data, "personalDigest": digest_of(personal)}
    event = Event(sequence=1, type="order.created", at=at, actor=actor, data=data, hash="")
    event["hash"] = event_hash(order_id, event)
    order = _born(order_id, event)
    order["events"] = [event]
    if personal:
        order["personal"] = personal
    return order


def advance(
    order: Order, at: datetime, actor: str, changes: Sequence[Change], command: str | None = None
) -> Order:
    """The order after the changes, with their events added to its log; the given order stays as it is.

    `command` is what a client asked for, by its name in `bounds.LIMITS`; None for what the service owes.
    Raises IllegalTransition where a table forbids one of the moves, HistoryFull.
    """
    after = order
    log = list(order["events"])
    for change in changes:
        event = Event(
            sequence=log[-1]["sequence"] + 1,
            type=change.type,
            at=at,
            actor=actor,
            data={**change.data},
            hash="",
        )
        event["hash"] = event_hash(log[-1]["hash"], event)
        log.append(event)
        after = _moved(after, event)
    after["events"] = log
    if command:
        require_room(order, after, command)
    return after


def fold(order_id: str, events: Iterable[Event]) -> Order:
    """The state that the events lead to. The first must be `order.created`; personal data are not in them."""
    log = list(events)
    order = _born(order_id, log[0])
    for event in log[1:]:
        order = _moved(order, event)
    order["events"] = log
    return order


def allowed_to_clients(status: str) -> tuple[str, ...]:
    """The statuses that a client may ask for from this one."""
    return tuple(following for following in STATUS[status] if following in CLIENT_STATUSES)


def quantities(order: Order) -> dict[str, int]:
    """What the order takes of each product: its lines, summed per product."""
    needed: dict[str, int] = {}
    for line in order["products"]:
        needed[line["productId"]] = needed.get(line["productId"], 0) + line["quantity"]
    return needed


def refundable(order: Order) -> int:
    """What of the captured money is neither given back nor asked back, in minor units."""
    payment = order["payment"]
    return payment["capturedAmount"] - payment["refundedAmount"] - refunds.reserved(order.get("refunds", ()))


def _born(order_id: str, created: Event) -> Order:
    data = created["data"]
    payment = Payment(status="pending", capturedAmount=0, refundedAmount=0)
    if "paymentMethod" in data:
        payment["method"] = data["paymentMethod"]
    # What the placed order says stands; the rest begins here.
    order: Any = {field: data[field] for field in _STANDING if field in data}
    order |= {
        "id": order_id,
        "status": "pending",
        "payment": payment,
        "stock": Stock(status="pending"),
        "version": created["sequence"],
        "publicVersion": created["sequence"],
        "createdAt": created["at"],
        "updatedAt": created["at"],
        "events": [],
    }
    return order


def _moved(order: Order, event: Event) -> Order:
    kind = EVENTS[event["type"]]
    axis, value = kind.axis, kind.value
    after: dict[str, Any] = {**order}
    if axis == "refund":
        after["refunds"] = refunds.moved(order.get("refunds", ()), event, value)
    else:
        part = after if axis == "order" else {**after[axis]}
        if value is not None:
            if value not in TRANSITIONS[axis][part["status"]]:
                raise IllegalTransition(part["status"], value, allowed_to_clients(order["status"]))
            part["status"] = value
            part.pop("action", None)
        part.update(event["data"])
        if axis != "order":
            after[axis] = part
    after["version"] = event["sequence"]
    if kind.is_public(event["at"]):
        after["publicVersion"] = event["sequence"]
    after["updatedAt"] = event["at"]
    return after  # type: ignore[return-value]
