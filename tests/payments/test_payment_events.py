"""Events of the provider, early or late, twice or out of order: each gets its documented status."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import new_id, now
from app.orders import steps
from app.orders.processing import perform
from app.orders.service import change_status
from app.payments.events import purge_events, receive, take_in
from app.payments.model import ProviderEvent
from tests.support.doubles import at_once, with_parts
from tests.support.outside import TOTAL, end

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.outside import Outside, ProviderEvents
    from tests.support.service_fixtures import Finish, Place

TYPES = ("payment.authorized", "payment.captured", "refund.succeeded")


def test_a_late_payment_of_an_ended_order_is_refunded_once_for_any_number_of_events(
    services: Services, place: Place, outside: Outside, provider_events: ProviderEvents, books: Books
) -> None:
    order = end(services, place(), "payment.voided")
    outside.make(order, "captured", captured=TOTAL)
    ids = [provider_events.post(order["id"]) for _ in range(3)]
    provider_events.work()
    assert [provider_events.row(one)["detail"] for one in ids] == [f"gave back {TOTAL}", "agreed", "agreed"]
    assert provider_events.ends() == {"done": 3}
    payment: Any = books.payment(order["id"])
    assert [refund["amount"] for refund in payment["refunds"]] == [TOTAL]
    books.check()


def test_an_event_before_our_own_write_has_the_effect_of_that_write(
    services: Services, place: Place, provider_events: ProviderEvents, finish: Finish, books: Books
) -> None:
    order = place()
    one = provider_events.post(order["id"], "payment.authorized")
    provider_events.work()
    assert provider_events.row(one)["status"] == "done"
    finish(services, order["id"])
    assert books.check()[0]["status"] == "confirmed"


@pytest.mark.parametrize("sequence", list(permutations(TYPES)), ids=",".join)
def test_events_in_any_order_end_in_the_same_state(
    sequence: tuple[str, ...],
    services: Services,
    place: Place,
    outside: Outside,
    provider_events: ProviderEvents,
    books: Books,
) -> None:
    order = place()
    perform(services.orders, steps.AUTHORIZE, [order["id"]])
    perform(services.orders, steps.DECREMENT, [order["id"]])
    outside.capture(order)
    outside.refund(order, 300)
    for kind in sequence:
        provider_events.post(order["id"], kind)
        provider_events.work()
    after = books.order(order["id"])
    assert (after["status"], after["payment"]["status"]) == ("confirmed", "partially_refunded")
    assert after["payment"]["refundedAmount"] == 300
    assert len(after["events"]) == 8
    assert provider_events.ends() == {"done": 3}


def test_the_same_event_sent_fifty_times_at_once_is_one(
    services: Services, place: Place, outside: Outside, provider_events: ProviderEvents, books: Books
) -> None:
    order = place()
    perform(services.orders, steps.AUTHORIZE, [order["id"]])
    change_status(services.orders, order["id"], "cancelled", actor="user")
    outside.capture(order)
    assert len(set(at_once(*[lambda: provider_events.post(order["id"], event_id="evt_1")] * 50))) == 1
    assert provider_events.ends() == {"pending": 1}
    at_once(*[provider_events.work] * 8)
    assert provider_events.ends() == {"done": 1}
    assert books.check()[0]["payment"]["status"] == "refunded"


def test_an_event_repeated_after_its_end_stays_ended(place: Place, provider_events: ProviderEvents) -> None:
    order = place()
    one = provider_events.post(order["id"], event_id="evt_1")
    provider_events.work()
    before = provider_events.row(one)
    provider_events.post(order["id"], event_id="evt_1")
    provider_events.work()
    assert provider_events.row(one) == before


@pytest.mark.parametrize(
    ("order_id", "kind"),
    [(None, "payment.captured"), (None, "cat.fed"), ("66ffbd20a1b2c3d4e5f60718", "cat.fed")],
)
def test_an_event_about_no_payment_is_kept_and_ignored(
    order_id: str | None, kind: str, provider_events: ProviderEvents
) -> None:
    one = provider_events.post(order_id, kind)
    provider_events.work()
    row = provider_events.row(one)
    assert (row["status"], row["type"]) == ("ignored", kind)
    assert "dueBy" not in row


def test_an_event_about_no_order_is_tried_for_a_day_ever_less_often_and_is_an_orphan_then(
    services: Services, clock: StoppedClock, provider_events: ProviderEvents, logged: list[Any]
) -> None:
    one = provider_events.post(new_id(clock()))
    begun, waits = clock(), []
    while (row := provider_events.row(one))["status"] == "pending":
        clock.advance(row["dueBy"] - clock())
        provider_events.work()
        if "dueBy" in (row := provider_events.row(one)):
            waits.append((row["dueBy"] - clock()).total_seconds())
    assert row["status"] == "orphaned"
    assert timedelta(hours=24) < row["endedAt"] - begun < timedelta(hours=25)
    assert 0.5 <= waits[0] <= 1.5
    assert 300 <= waits[-1] <= 900
    assert len(waits) < 350
    (line,) = [line for line in logged if line["log_level"] == "error"]
    assert line["event_id"] == one


def test_an_order_that_comes_to_light_later_takes_its_event(
    services: Services,
    clock: StoppedClock,
    place: Place,
    provider_events: ProviderEvents,
    database: OrderDatabase,
    books: Books,
    finish: Finish,
) -> None:
    order = place()
    (document,) = database["orders"].find()
    database["orders"].delete_many({})
    one = provider_events.post(order["id"])
    provider_events.work()
    assert provider_events.row(one)["detail"] == "there is no such order"
    database["orders"].insert_one(document)
    clock.advance(provider_events.row(one)["dueBy"] - clock())
    provider_events.work()
    assert provider_events.row(one)["status"] == "done"


@pytest.mark.parametrize("order_id", ["66", "66FFBD20A1B2C3D4E5F60718", "x" * 24, "order 7", "6" * 1000])
def test_an_event_with_an_impossible_order_id_is_an_orphan_at_once(
    order_id: str, provider_events: ProviderEvents
) -> None:
    one = provider_events.post(order_id)
    provider_events.work()
    assert provider_events.row(one)["status"] == "orphaned"


def test_an_event_that_names_the_payment_only_finds_its_order_by_the_provider(
    services: Services, place: Place, provider_events: ProviderEvents, books: Books
) -> None:
    """A provider's refunds may name no order."""
    order = place()
    perform(services.orders, steps.AUTHORIZE, [order["id"]])
    inner = services.payments.provider

    class ByReference:
        name = "sandbox"

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def event(self, headers: object, body: object) -> ProviderEvent:
            return ProviderEvent("evt_1", "charge.refunded", None, f"sandbox_{order['id']}")

        def find(self, charge: Any) -> Any:
            return inner.find(charge._replace(order_id=charge.reference.removeprefix("sandbox_")))

    change_status(services.orders, order["id"], "cancelled", actor="user")
    other = with_parts(services, payments=ByReference())  # type: ignore[arg-type]
    receive(other.payments, "sandbox", {}, b"")
    take_in(other.payments, ["sandbox:evt_1"])
    assert provider_events.row("sandbox:evt_1")["status"] == "done"
    assert books.check()[0]["payment"]["status"] == "voided"


def test_events_are_forgotten_when_the_retention_is_over_and_not_before(
    services: Services, clock: StoppedClock, provider_events: ProviderEvents
) -> None:
    old = provider_events.post(None)
    provider_events.work()
    clock.advance(timedelta(days=services.settings.retention_days))
    young, waiting = provider_events.post(None), provider_events.post(new_id(now()))
    assert purge_events(services.payments) == 0
    clock.advance(timedelta(seconds=1))
    provider_events.work()
    assert purge_events(services.payments) == 1
    assert provider_events.ends() == {"ignored": 1, "pending": 1}
    assert {provider_events.row(young)["status"], provider_events.row(waiting)["status"]} == {
        "ignored",
        "pending",
    }
    assert old not in (young, waiting)
