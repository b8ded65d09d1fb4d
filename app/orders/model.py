"""An order is its own log: the present state is the fold of its events, and every change adds events.

An order has three axes: its status, its payment and its stock. An axis changes only by an event, and only as
the tables in `app.orders.states` allow. Refunds are part of the order's state and have a table of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, NotRequired, TypedDict

from app.errors import IllegalTransition
from app.orders import cancellations, corrections, goods, holds, refunds, returns, shipments
from app.orders.bounds import require_room
from app.orders.corrections import Note
from app.orders.events import EVENTS
from app.orders.fields import ORDER
from app.orders.log import Event, digest, event_hash
from app.orders.numbers import number_of
from app.orders.states import COMMANDS, STATUS, TRANSITIONS
from app.orders.step_errors import StepError
from app.shapes import names


class Line(TypedDict):
    """One line of an order. `unitPrice` is in minor units of the order's currency."""

    productId: str
    quantity: int
    unitPrice: NotRequired[int]


class Adjustment(TypedDict):
    """A part of the total beside the lines. `amount` is in minor units; a discount is 0 or less.

    `line` is the number of its line. Without it, the adjustment is for the whole order. The prices include an
    `included` tax already.
    """

    kind: str
    amount: int
    name: NotRequired[str]
    line: NotRequired[int]
    included: NotRequired[bool]


class Payment(TypedDict):
    """The state of the payment. Amounts are in minor units of the order's currency.

    `action` is an action that the customer has to take before the payment continues: its `type`, and the
    `clientSecret` that the customer's browser needs.
    """

    status: str
    capturedAmount: int
    refundedAmount: int
    method: NotRequired[str]
    reference: NotRequired[str]
    action: NotRequired[dict[str, str]]
    failure: NotRequired[dict[str, str]]


class Stock(TypedDict):
    """The state of the stock. `shortages` lists each product with too little stock: `productId`, `requested`,
    `available`. `heldUntil` is the time at which the order expires if it is not confirmed."""

    status: str
    shortages: NotRequired[list[dict[str, Any]]]
    heldUntil: NotRequired[datetime]


class Personal(TypedDict, total=False):
    """The customer's personal data, apart from the user id.

    The log holds only a digest of it. So the data can be erased and the log can still be verified. `salt`
    protects the digest from guessing.
    """

    salt: str
    email: str
    shippingAddress: dict[str, str]
    metadata: dict[str, str]


class NoteText(TypedDict):
    """The text of a note, with the id of the note. The log holds only its digest, which `salt` protects."""

    id: str
    salt: str
    text: str


class Origin(TypedDict):
    """The request that created an order: its id, and the W3C trace context for the background steps."""

    requestId: str
    traceparent: NotRequired[str]


class Order(TypedDict):
    """The present state of an order, with its log or the last event of the log.

    `totalAmount` is in minor units. `version` is the sequence of the last event, `publicVersion` that of the
    last public event. `announced` is the sequence of the last event with recorded notifications. `dueBy` is
    the deadline of the order's due steps, `attempts` counts their attempts without a change, and `lastError`
    is why the last of these failed. If `carried` is the version,
    the worker that wrote it goes on with the order, and the relay leaves it alone.

    Two fields are never stored. `storedVersion` is there while the last events are not written yet, and
    `unmarked` while `announced` is not.
    """

    id: str
    number: NotRequired[str]
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
    lastError: NotRequired[StepError]
    adjustments: NotRequired[list[Adjustment]]
    carried: NotRequired[int]
    storedVersion: NotRequired[int]
    unmarked: NotRequired[bool]
    origin: NotRequired[Origin]
    reference: NotRequired[str]
    personal: NotRequired[Personal]
    tags: NotRequired[list[str]]
    notes: NotRequired[list[Note]]
    noteTexts: NotRequired[list[NoteText]]
    erasedAt: NotRequired[datetime]
    refunds: NotRequired[list[refunds.Refund]]
    holds: NotRequired[list[holds.Hold]]
    releasedAt: NotRequired[datetime]
    shipments: NotRequired[list[goods.Shipment]]
    cancellations: NotRequired[list[goods.PartCancellation]]
    returns: NotRequired[list[goods.Return]]
    tracking: NotRequired[dict[str, str]]
    cancellation: NotRequired[dict[str, str]]
    deletedAt: NotRequired[datetime]
    onShortage: NotRequired[str]
    backorderUntil: NotRequired[datetime]
    stockFirst: NotRequired[bool]


# The fields that a new order copies from its first event.
_STANDING = names(ORDER, stored=True, personal=False, given="required") + names(
    ORDER, stored=True, personal=False, given="optional"
)

# What an event changes in an order, for the events that do more than to set an axis.
_FOLDS = {
    **cancellations.FOLDS,
    **corrections.FOLDS,
    **holds.FOLDS,
    **returns.FOLDS,
    **shipments.FOLDS,
}


class Change(NamedTuple):
    """The type and data of an event that is not in the log yet."""

    type: str
    data: Mapping[str, Any] = MappingProxyType({})


def digest_of(personal: Personal) -> str:
    """The salted digest that the log holds instead of the personal data."""
    return digest(personal)


def digest_of_note(text: NoteText) -> str:
    """The salted digest that the log holds instead of the text."""
    return digest({"salt": text["salt"], "text": text["text"]})


def logged_digest(events: Iterable[Event]) -> str | None:
    """The digest of the present personal data, by the log. None if the log never had any."""
    found = None
    for event in events:
        found = event["data"].get("personalDigest", found)
    return found


def create(order_id: str, at: datetime, actor: str, data: dict[str, Any], personal: Personal | None) -> Order:
    """A new order at version 1.

    `data` is the data of `order.created`: userId, products, totalAmount (minor units), currency, and
    optionally adjustments, paymentMethod, reference, onShortage, backorderUntil and stockFirst.
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
    """The order after the changes, with their events added to its log. Does not modify the given order.

    `command` is the client's command by its name in `bounds.LIMITS`, or None for a step of the service.
    Raises IllegalTransition if a table forbids one of the changes, HistoryFull.
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


def fold(order_id: str, events: Iterable[Event], before: Order | None = None) -> Order:
    """The state after the events, without personal data.

    `before` is the state that the events follow. Without it, the first event must be `order.created`.
    """
    log = list(events)
    order = before or _born(order_id, log[0])
    for event in log if before else log[1:]:
        order = _moved(order, event)
    return {**order, "events": [*before["events"], *log] if before else log}


def allowed_to_clients(order: Mapping[str, Any]) -> tuple[str, ...]:
    """The statuses that a client may request for the order."""
    if goods.is_partly_shipped(order):
        return ("shipped",)
    return tuple(following for following in STATUS[order["status"]] if following in COMMANDS)


def quantities(order: Order) -> dict[str, int]:
    """The quantity of each product that the order takes out of the stock.

    Pieces that were cancelled before are left out, and products of which nothing is left.
    """
    never = [one for one in order.get("cancellations", ()) if not cancellations.took_stock(one)]
    needed: dict[str, int] = {}
    for line, off in zip(order["products"], goods.cancelled({**order, "cancellations": never}), strict=True):
        needed[line["productId"]] = needed.get(line["productId"], 0) + line["quantity"] - off
    return {product: quantity for product, quantity in needed.items() if quantity}


def refundable(order: Order) -> int:
    """The captured amount minus refunds that are done or pending, in minor units."""
    payment = order["payment"]
    return payment["capturedAmount"] - payment["refundedAmount"] - refunds.reserved(order.get("refunds", ()))


def _born(order_id: str, created: Event) -> Order:
    data = created["data"]
    payment = Payment(status="pending", capturedAmount=0, refundedAmount=0)
    if "paymentMethod" in data:
        payment["method"] = data["paymentMethod"]

    order: Any = {field: data[field] for field in _STANDING if field in data}
    order |= {
        "id": order_id,
        "number": number_of(order_id),
        "status": "pending",
        "payment": payment,
        "stock": Stock(status="pending"),
        "version": created["sequence"],
        "publicVersion": created["sequence"],
        "createdAt": created["at"],
        "updatedAt": created["at"],
        "events": [],
    }
    if "holds" in data:
        order["holds"] = holds.begun(data["holds"], created["at"])
    if "stockFirst" in data:
        order["stockFirst"] = data["stockFirst"]
    if "backorderUntil" in data:
        order["releasedAt"] = data["backorderUntil"]
    return order


def _moved(order: Order, event: Event) -> Order:
    kind = EVENTS[event["type"]]
    axis, value = kind.axis, kind.value
    after: dict[str, Any] = {**order}
    if event["type"] in _FOLDS:
        _FOLDS[event["type"]](after, event)
    elif axis == "refund":
        after["refunds"] = refunds.moved(order.get("refunds", ()), event, value)
        cancellations.refunded_by(after, event)
    else:
        part = after if axis == "order" else {**after[axis]}
        if value is not None:
            if value not in TRANSITIONS[axis][part["status"]]:
                raise IllegalTransition(part["status"], value, allowed_to_clients(order))
            part["status"] = value
            part.pop("action", None)
        for name in kind.ends:
            part.pop(name, None)
        part.update(event["data"])
        if axis != "order":
            after[axis] = part
            if event["type"] == "stock.decremented" and "backorderUntil" in order:
                after["releasedAt"] = event["at"]
        elif value is not None:
            holds.end_with_status(after)
    after["version"] = event["sequence"]
    if kind.is_public(event["at"]):
        after["publicVersion"] = event["sequence"]
    after["updatedAt"] = event["at"]
    return after  # type: ignore[return-value]
