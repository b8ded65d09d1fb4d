"""What an order waits for, derived from its state, its due work and the time.

The rows of one table are tried in order for each step that the order owes. The earliest step that cannot go
decides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, NotRequired, TypedDict

from app.orders.holds import Hold, blocking
from app.orders.model import Order, refundable
from app.orders.refunds import Refund
from app.orders.shortages import expires_from, may_wait
from app.orders.states import CAPTURED
from app.orders.step_errors import StepError
from app.orders.steps import (
    ANNOUNCE,
    AUTHORIZE,
    CAPTURE,
    DECREMENT,
    DECREMENT_FIRST,
    HELD_CAPTURE,
    REFUND,
    RESTOCK,
    RESTOCK_CANCELLED,
    RESTOCK_REFUNDED,
    RESTOCK_RETURNED,
    VOID,
    Step,
)

STATES = DONE, WORKING, WAITING, BLOCKED, STUCK = ("done", "working", "waiting", "blocked", "stuck")
WAITING_FOR = ("customer", "provider", "stock", "shop", "worker", "nobody")


def _owes_failed_refund(order: Order) -> bool:
    """Whether a refund failed, and neither a retry nor another refund has made up for it."""
    refunds, left = order.get("refunds", ()), refundable(order)
    failed = [position for position, refund in enumerate(refunds) if refund["status"] == "failed"]
    if not failed or order["payment"]["status"] not in CAPTURED:
        return False
    if order["status"] == "cancelled":
        return left > 0 or not any(refund["status"] == "pending" for refund in refunds)
    return any(
        refunds[position]["amount"] <= left and _asked(refunds[position + 1 :]) < refunds[position]["amount"]
        for position in failed
    )


def _asked(refunds: Sequence[Refund]) -> int:
    return sum(refund["amount"] for refund in refunds if refund["status"] != "failed")


# No task does this step: the order has to wait until stock comes.
WAIT = DECREMENT_FIRST._replace(
    after=("stock.backordered",),
    stock=("backordered",),
    order=lambda order: not DECREMENT_FIRST.is_due(order),
)
# The steps of the shop. No task does them, so they are not in the step table.
RETRY_REFUND = Step("shop.refund", after=("refund.failed",), order=_owes_failed_refund)
SHIP = Step("shop.ship", after=("order.confirmed", "order.reopened"), status=("confirmed",))
DELIVER = Step("shop.deliver", after=("order.shipped",), status=("shipped",))

# All steps in the order in which they decide, with their public names. Announcing has none: it holds up
# nothing, so it only shows once it is overdue.
PUBLIC_NAMES: dict[Step, str | None] = {
    AUTHORIZE: "authorize",
    DECREMENT_FIRST: "decrement",
    WAIT: "decrement",
    DECREMENT: "decrement",
    CAPTURE: "capture",
    HELD_CAPTURE: "capture",
    VOID: "void",
    REFUND: "refund",
    RETRY_REFUND: "refund",
    RESTOCK_CANCELLED: "restock",
    RESTOCK: "restock",
    RESTOCK_REFUNDED: "restock",
    RESTOCK_RETURNED: "restock",
    SHIP: "ship",
    DELIVER: "deliver",
    ANNOUNCE: None,
}
STEPS = tuple(dict.fromkeys(name for name in PUBLIC_NAMES.values() if name))

# Further events from which on the order waits, beside those of the step table.
_ALSO_AFTER = {
    AUTHORIZE: ("payment.action_required",),
    HELD_CAPTURE: ("stock.decremented",),
    SHIP: ("hold.released", "hold.expired"),
}
# What a hold must block so that it stops the step.
_STOPPED_BY = {HELD_CAPTURE: "capture", SHIP: "ship"}
_OF_THE_SHOP = (HELD_CAPTURE, RETRY_REFUND, SHIP, DELIVER)
_OF_NO_TASK = (*_OF_THE_SHOP, WAIT)
_OF_THE_PROVIDER = (AUTHORIZE, CAPTURE, VOID, REFUND)
# These errors pass by themselves. After any other, a person has to look.
_PASSING = ("provider_unavailable", "stock_busy")


class Limits(NamedTuple):
    """The time of the diagnosis, and the settings that it depends on."""

    now: datetime
    step_deadline: timedelta
    order_expiry: timedelta


class Expected(TypedDict):
    """Something that happens at a time unless something else happens first."""

    what: str
    at: datetime


class ShownError(TypedDict):
    """The last failure: a code from `step_errors.CODES`, and its time."""

    code: str
    at: datetime


class Notice(TypedDict):
    """The state of one notification or webhook. `nextAttempt` is present while it is pending."""

    channel: str
    state: str
    nextAttempt: NotRequired[datetime]


class Diagnosis(TypedDict):
    """What an order waits for.

    `since` is the time from which it waits, and `dueBy` the time by which the step should be done or is tried
    again. `next` is the next attempt, `otherwise` what happens if nothing else does.
    """

    state: str
    waitingFor: str
    step: NotRequired[str]
    since: NotRequired[datetime]
    dueBy: NotRequired[datetime]
    attempts: NotRequired[int]
    lastError: NotRequired[ShownError]
    next: NotRequired[Expected]
    otherwise: NotRequired[Expected]
    holds: NotRequired[list[Hold]]
    notifications: NotRequired[list[Notice]]


class _Case(NamedTuple):
    """One step that the order owes."""

    order: Order
    step: Step
    since: datetime
    error: StepError | None
    limits: Limits


class _Row(NamedTuple):
    """A state, and the cases that have it."""

    state: str
    waiting_for: str
    applies: Callable[[_Case], object]


def _blocking(order: Order, step: Step) -> list[Hold]:
    return blocking(order, _STOPPED_BY[step]) if step in _STOPPED_BY else []


def _waits_for_customer(case: _Case) -> bool:
    return case.step is AUTHORIZE and "action" in case.order["payment"]


def _has_failed(case: _Case) -> bool:
    return case.error is not None and case.error["code"] not in _PASSING


def _is_overdue(case: _Case) -> bool:
    """Whether nobody has tried the step in time.

    A first attempt has the step deadline from the event on that made it due, however often the step was sent
    again. A later one has it from its planned time on.
    """
    due_by, deadline = case.order.get("dueBy"), case.limits.step_deadline
    if due_by is None:
        return True
    due = due_by + deadline if case.order.get("attempts", 0) else min(due_by, case.since + deadline)
    return due <= case.limits.now


def _waits_for_provider(case: _Case) -> bool:
    return (
        case.step in _OF_THE_PROVIDER
        and case.error is not None
        and case.error["code"] == "provider_unavailable"
    )


# The first row that applies to a step counts.
_ROWS = (
    _Row(BLOCKED, "shop", lambda case: _blocking(case.order, case.step)),
    _Row(STUCK, "shop", lambda case: case.step is RETRY_REFUND),
    _Row(WAITING, "shop", lambda case: case.step in _OF_THE_SHOP),
    _Row(WAITING, "stock", lambda case: case.step is WAIT),
    _Row(WAITING, "customer", _waits_for_customer),
    _Row(STUCK, "worker", _has_failed),
    _Row(STUCK, "worker", _is_overdue),
    _Row(WAITING, "provider", _waits_for_provider),
    _Row(WORKING, "worker", lambda _: True),
)


def diagnose(order: Order, limits: Limits) -> Diagnosis:
    """What the order waits for. Raises LookupError, TypeError or the like if the order is damaged.

    Of the order's log, only the types and times of the events are needed.
    """
    found = list(_judged(order, limits))
    if not found:
        return {"state": DONE, "waitingFor": "nobody", "since": order["updatedAt"]}
    case, row = next((one for one in found if one[1].state != WORKING), found[0])
    shown: Diagnosis = {"state": row.state, "waitingFor": row.waiting_for}
    if name := PUBLIC_NAMES[case.step]:
        shown["step"] = name
    shown["since"] = case.since
    if (due_by := order.get("dueBy")) is not None:
        shown["dueBy"] = due_by
        working = next((PUBLIC_NAMES[one.step] for one, _ in found if one.step not in _OF_NO_TASK), None)
        if working and due_by > limits.now:
            shown["next"] = {"what": working, "at": due_by}
    shown["attempts"] = int(order.get("attempts", 0))
    if case.step is RETRY_REFUND:
        shown["lastError"] = {"code": "refund_failed", "at": case.since}
    elif error := order.get("lastError"):
        shown["lastError"] = {"code": error["code"], "at": error["at"]}
    if order["status"] == "pending" and (may_wait(order) or not order.get("holds")):
        shown["otherwise"] = {"what": "order.cancelled", "at": _ends_at(order, limits)}
    return shown


def _ends_at(order: Order, limits: Limits) -> datetime:
    """The time at which the pending order ends by itself."""
    return order["backorderUntil"] if may_wait(order) else expires_from(order) + limits.order_expiry


def damaged(order: Mapping[str, Any], now: datetime) -> Diagnosis:
    """The diagnosis of an order that cannot be read. `order` has the fields that can be decoded."""
    shown: Diagnosis = {"state": STUCK, "waitingFor": "worker"}
    match order.get("dueBy"):
        case datetime() as due_by:
            shown["dueBy"] = due_by
    match order.get("lastError"):
        case {"at": datetime() as at}:
            return {**shown, "lastError": {"code": "order_damaged", "at": at}}
    return {**shown, "lastError": {"code": "order_damaged", "at": now}}


def _judged(order: Order, limits: Limits) -> Iterator[tuple[_Case, _Row]]:
    """The steps that the order owes, each with its row."""
    error = order.get("lastError")
    owed = [step for step in PUBLIC_NAMES if step.is_due(order)]
    # The step that failed may not be owed as such: its outcome is written together with a later one.
    anywhere = error is not None and error["step"] not in {step.name for step in owed}
    for step in owed:
        own = error if error is not None and (anywhere or error["step"] == step.name) else None
        case = _Case(order, step, _since(order, step), own, limits)
        row = next(row for row in _ROWS if row.applies(case))
        if step is not ANNOUNCE or row.state != WORKING:
            yield case, row


def _since(order: Order, step: Step) -> datetime:
    """The time of the event that made the order owe the step, or of the first hold that stops it."""
    after = (*step.after, *_ALSO_AFTER.get(step, ()))
    times = [event["at"] for event in order["events"] if event["type"] in after]
    since = times[-1] if times else order["updatedAt"]
    return max(since, min((hold["createdAt"] for hold in _blocking(order, step)), default=since))
