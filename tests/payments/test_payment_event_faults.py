"""A crash, a fault or an outage while an event is taken in costs time, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import DatabaseUnavailable, ProviderUnavailable
from app.orders import steps
from app.orders.processing import perform
from app.orders.service import change_status
from app.payments.events import events_due, receive, take_in
from tests.support.doubles import Crash, followed, with_parts
from tests.support.outside import TOTAL, end
from tests.support.payment_events import event, signed

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.outside import Outside, ProviderEvents
    from tests.support.service_fixtures import Place


class Unreachable:
    """A provider that cannot be asked."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def find(self, charge: object) -> Any:
        raise ProviderUnavailable


def crash() -> None:
    """Dies."""
    raise Crash


def test_while_the_provider_cannot_be_asked_the_event_waits(
    services: Services,
    clock: StoppedClock,
    place: Place,
    outside: Outside,
    provider_events: ProviderEvents,
    books: Books,
) -> None:
    """Longer than a day, too."""
    order = end(services, place(), "payment.voided")
    outside.make(order, "captured", captured=TOTAL)
    one = provider_events.post(order["id"])
    down = with_parts(services, payments=Unreachable(services.payments.provider))  # type: ignore[arg-type]
    for _ in range(3):
        take_in(down.payments, [one])
        assert provider_events.row(one)["detail"] == "the provider cannot be asked now"
        clock.advance(timedelta(hours=20))
    provider_events.work()
    assert provider_events.row(one)["status"] == "done"
    books.check()


@pytest.mark.parametrize(
    ("collaborator", "method"),
    [
        ("payment_events", "claim"),
        ("orders", "load"),
        ("payments", "find"),
        ("payments", "refund"),
        ("orders", "append_all"),
        ("payment_events", "close"),
    ],
)
def test_a_crash_between_any_two_lines_is_made_up_for(
    collaborator: str,
    method: str,
    services: Services,
    clock: StoppedClock,
    place: Place,
    outside: Outside,
    provider_events: ProviderEvents,
    books: Books,
) -> None:
    """Cancelled orders, captured at the provider: of one we know the payment, of the other it was closed."""
    alive, dead = place(), end(services, place(), "payment.voided")
    perform(services.orders, steps.AUTHORIZE, [alive["id"]])
    change_status(services.orders, alive["id"], "cancelled", actor="user")
    for order in (alive, dead):
        outside.make(order, "captured", captured=TOTAL)
        provider_events.post(order["id"])
    for _ in range(2):
        with pytest.raises(Crash):
            take_in(followed(services, collaborator, method, crash).payments, events_due(services.payments))
        provider_events.work()
        clock.advance(timedelta(minutes=3))
        if not events_due(services.payments):
            break
    provider_events.work()
    assert provider_events.ends() == {"done": 2}
    books.check()
    for order in (alive, dead):
        payment: Any = books.payment(order["id"])
        assert [refund["amount"] for refund in payment["refunds"]] == [TOTAL]


def test_the_next_tick_finds_a_stored_event_that_was_never_sent(
    services: Services, place: Place, provider_events: ProviderEvents
) -> None:
    call = signed(event(place()["id"]), "evt_1")
    with pytest.raises(Crash):
        receive(
            followed(services, "payment_events", "record", crash).payments, "sandbox", call.headers, call.body
        )
    assert events_due(services.payments) == ["sandbox:evt_1"]


def test_one_bad_event_never_spoils_its_batch(
    services: Services,
    place: Place,
    provider_events: ProviderEvents,
    database: OrderDatabase,
    logged: list[Any],
) -> None:
    bad, good = place(), place()
    ids = [provider_events.post(bad["id"]), provider_events.post(good["id"])]
    inner = services.payments.provider

    class Faulty:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def find(self, charge: Any) -> Any:
            if charge.order_id == bad["id"]:
                raise RuntimeError("a fault of ours")
            return inner.find(charge)

    take_in(with_parts(services, payments=Faulty()).payments, ids)  # type: ignore[arg-type]
    assert [provider_events.row(one)["status"] for one in ids] == ["pending", "done"]
    assert [line["event_id"] for line in logged if line["log_level"] == "error"] == [ids[0]]


def test_an_outage_of_the_database_is_blamed_on_no_event(
    services: Services, place: Place, provider_events: ProviderEvents
) -> None:
    one = provider_events.post(place()["id"])

    def outage() -> None:
        raise DatabaseUnavailable

    with pytest.raises(DatabaseUnavailable):
        take_in(followed(services, "orders", "load", outage).payments, [one])
    assert "detail" not in provider_events.row(one)
