"""Handles the events that the payment provider sends: stores each one first, and works on it afterwards.

An event is only a hint that a payment changed. The service asks the provider for the payment's present state.
So events may come early, late, twice and in any order.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import structlog

from app.apart import each_apart
from app.backoff import backoff
from app.errors import DatabaseUnavailable, Fault, InvalidInput, NotFound, ProviderUnavailable
from app.payments import PaymentServices
from app.payments.align import WAITING, align
from app.payments.event import ReceivedEvent, is_about_a_payment
from app.payments.model import Charge

log = structlog.get_logger()

BATCH = 500

# A claim lasts longer than the work on any event. Afterwards another worker can claim a dead worker's event.
_CLAIM = timedelta(minutes=2)
# How long an event is retried while its order is missing or has to wait.
_PATIENCE = timedelta(hours=24)
_LONGEST_WAIT = 600


_ORDER_ID = re.compile(r"[0-9a-f]{24}")


class _End(NamedTuple):
    """The result of the work on an event: its final status or `waiting`, and the reason."""

    status: str
    detail: str


def receive(services: PaymentServices, provider: str, headers: Mapping[str, str], body: bytes) -> None:
    """Stores the event of a webhook call from the provider, durably and only once.

    Raises NotFound for a provider that is not in use, BadSignature, InvalidInput for a signed body that is
    not an event, DatabaseUnavailable.
    """
    if provider != services.provider.name:
        raise NotFound("The payment provider does not exist or is not in use.")
    try:
        sent = services.provider.event(headers, body)
        # Half a surrogate pair cannot be stored as text.
        "".join(filter(None, sent)).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInput(Fault("", "must be an event of the provider")) from error
    event = ReceivedEvent(id=f"{provider}:{sent.id}", type=sent.type, receivedAt=services.clock(), attempts=0)
    if sent.order_id is not None:
        event["orderId"] = sent.order_id
    if sent.reference is not None:
        event["reference"] = sent.reference
    is_new = services.events.record(event)
    services.metrics.count("payment_events_total", "received" if is_new else "repeated")
    if is_new:
        log.info("payment event", event_id=event["id"], type=event["type"])


def events_due(services: PaymentServices) -> list[str]:
    """The ids of the events that are due for work now."""
    return services.events.due(services.clock(), BATCH)


def take_in(services: PaymentServices, event_ids: Sequence[str]) -> None:
    """Works on those of the events that are due. An event that cannot be finished now is retried later.

    Raises DatabaseUnavailable.
    """
    each_apart(event_ids, partial(_take_in, services), _failed)


def purge_events(services: PaymentServices) -> int:
    """Removes the events that ended before the retention time, and returns their number."""
    purged = 0
    limit = services.clock() - timedelta(days=services.retention_days)
    while event_ids := services.events.ended_before(limit, BATCH):
        services.events.purge(event_ids)
        purged += len(event_ids)
    return purged


def _take_in(services: PaymentServices, event_id: str) -> None:
    now = services.clock()
    if event := services.events.claim(event_id, now, now + _CLAIM):
        _note(services, event, _worked_on(services, event))


def _failed(event_id: str, error: Exception) -> None:
    """Logs the error. The event is retried after its claim ends."""
    log.error("payment event failed", event_id=event_id, exc_info=error)


def _worked_on(services: PaymentServices, event: ReceivedEvent) -> _End:
    if not is_about_a_payment(event):
        return _End("ignored", "it is not about a payment of this service")
    late = services.clock() - event["receivedAt"] > _PATIENCE
    try:
        order_id = event.get("orderId") or _order_of(services, event)
        possible = _ORDER_ID.fullmatch(order_id) is not None
        orders = services.orders.store.load([order_id]) if possible else []
        if not orders:
            hopeless = late or (order_id and not possible)
            return _End("orphaned" if hopeless else WAITING, "there is no such order")
        outcome = align(services, orders[0], event.get("reference"))
    except ProviderUnavailable:
        return _End(WAITING, "the provider cannot be asked now")
    except DatabaseUnavailable:
        raise
    except Exception:
        log.exception("payment event failed", event_id=event["id"], order_id=event.get("orderId"))
        return _End(WAITING, "an internal error")
    return _End(WAITING if outcome == WAITING and not late else "done", outcome)


def _order_of(services: PaymentServices, event: ReceivedEvent) -> str:
    """The order's id as the provider has it; empty if the provider has none."""
    found = services.provider.find(Charge("", 0, "", None, event["receivedAt"], event["reference"]))
    return found.order_id if found else ""


def _note(services: PaymentServices, event: ReceivedEvent, end: _End) -> None:
    now = services.clock()
    services.metrics.count("payment_events_total", end.status)
    if end.status == WAITING:
        wait = backoff(event["attempts"], longest=_LONGEST_WAIT)
        services.events.postpone(event["id"], now + wait, end.detail)
        return
    services.events.close(event["id"], end.status, now, end.detail)
    if end.status == "orphaned":
        log.error("payment event is about no order", event_id=event["id"], order_id=event.get("orderId"))
