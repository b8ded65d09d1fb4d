"""The running service processes the payment provider's events, even if a part of it is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.service import at_once, draft, eventually
from tests.support.payment_events import SECRET, Call, event, signed

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from deploy.local.servers import Broker
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

SLOWEST = 1.0


def post(service: Service, call: Call) -> httpx.Response:
    """The service's answer to the provider."""
    return service.http.post("/payment-events/sandbox", content=call.body, headers=call.headers)


def refund_outside(service: Service, order_id: str, amount: int) -> None:
    """Somebody gives money back at the provider's own dashboard."""
    service.database.sandbox_payments.update_one({"_id": order_id}, {"$inc": {"refunded": amount}})


def statuses(service: Service) -> list[str]:
    """Those of all events."""
    return [row["status"] for row in service.database.payment_events.find()]


@pytest.fixture
def running(serve: ServiceStarter, private_broker: Callable[[], Broker]) -> tuple[Service, Broker]:
    """A service that takes in events, and its broker."""
    broker = private_broker()
    return serve(redis_url=broker.url(), settings={"PAYMENT_WEBHOOK_SECRET": SECRET}), broker


def test_events_are_taken_without_a_broker_and_worked_on_when_it_is_back(
    running: tuple[Service, Broker],
) -> None:
    service, broker = running
    order = service.confirmed(draft())
    broker.stop()
    refund_outside(service, order["id"], 250)
    answer = post(service, signed(event(order["id"], "refund.succeeded")))
    assert answer.status_code == 202
    assert answer.elapsed.total_seconds() < SLOWEST
    assert statuses(service) == ["pending"]

    broker.start()
    eventually(lambda: statuses(service) == ["done"])
    payment = service.get(order["id"])["payment"]
    assert (payment["status"], payment["refundedAmount"]) == ("partially_refunded", 2.5)


def test_an_event_sent_fifty_times_at_once_without_a_worker_is_processed_once(
    running: tuple[Service, Broker],
) -> None:
    service, _ = running
    order = service.confirmed(draft())
    refund_outside(service, order["id"], 250)
    call = signed(event(order["id"], "refund.succeeded"), "evt_1")
    service.stack.kill("worker")
    answers = at_once([lambda: post(service, call)] * 50)
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, '{"received":true}')}
    assert statuses(service) == ["pending"]

    service.stack.start("worker")
    eventually(lambda: statuses(service) == ["done"])
    assert service.event_types(order["id"])[-3:] == [
        "refund.requested",
        "refund.succeeded",
        "payment.partially_refunded",
    ]
    assert service.broken_chains([order["id"]]) == []
