"""Orders paid by Stripe, over the whole service and HTTP on both of its sides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from tests.end_to_end.service import draft, eventually
from tests.support.providers import event_body, sign_as_stripe_does
from tests.support.stripe_server import API_KEY, ASKS_CUSTOMER, DECLINED, GOOD, SIGNING_SECRET

if TYPE_CHECKING:
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service
    from tests.support.stripe_server import StripeServer


@pytest.fixture(scope="module")
def service(serve_all: ServiceStarter, stripe_of_the_run: StripeServer) -> Service:
    """Takes payments by Stripe, hears its events, and logs all that it may."""
    settings = {
        "PAYMENT_PROVIDER": "stripe",
        "STRIPE_API_KEY": API_KEY,
        "STRIPE_API_BASE": stripe_of_the_run.url,
        "PAYMENT_WEBHOOK_SECRET": SIGNING_SECRET,
        "LOG_LEVEL": "debug",
    }
    service = serve_all(settings=settings)
    stripe_of_the_run.send_events_to(f"{service.stack.base_url}/payment-events/stripe")
    return service


def ended(service: Service, order_id: str, status: str) -> dict[str, Any]:
    """The order once it has the status and owes nothing more."""
    eventually(lambda: service.get(order_id)["status"] == status)
    service.come_to_rest([order_id])
    return service.get(order_id)


def test_an_order_is_paid_refunded_in_part_and_cancelled(
    service: Service, stripe_server: StripeServer
) -> None:
    """Every amount stands on Stripe's books as on ours, once; its own event of it was heard."""
    order_id = service.confirmed(draft(paymentMethod=GOOD))["id"]
    (intent,) = stripe_server.intents(order_id)
    payment = service.get(order_id)["payment"]
    assert (payment["status"], payment["reference"]) == ("captured", intent["id"])
    assert (intent["status"], intent["amount_received"]) == ("succeeded", 1250)
    heard = {"orderId": order_id, "type": "payment_intent.succeeded", "status": "done"}
    eventually(lambda: service.database.payment_events.find_one(heard))

    answer = service.http.post(f"/orders/{order_id}/refunds", json={"amount": 2.5})
    assert answer.status_code == 202, answer.text
    eventually(lambda: service.get(order_id)["payment"]["refundedAmount"] == 2.5)
    assert service.put(order_id, {"status": "cancelled"}).status_code == 200
    payment = ended(service, order_id, "cancelled")["payment"]
    eventually(lambda: service.get(order_id)["payment"]["status"] == "refunded")
    assert sorted(made["amount"] for made in stripe_server.refunds(intent["id"])) == [250, 1000]
    assert service.broken_chains([order_id]) == []


def test_a_declined_card_ends_the_order_with_the_banks_code(
    service: Service, stripe_server: StripeServer
) -> None:
    """As does a token that Stripe does not know; no token at all is refused at once."""
    declined, unknown = service.place_all(
        [draft(paymentMethod=DECLINED), draft(paymentMethod="pm_0123456789abcdef")]
    )
    order = ended(service, declined, "cancelled")
    assert order["cancellation"] == {"reason": "payment_declined"}
    assert order["payment"]["failure"]["code"] == "card_declined"
    assert [intent["status"] for intent in stripe_server.intents(declined)] == ["canceled"]
    assert ended(service, unknown, "cancelled")["payment"]["failure"]["code"] == "resource_missing"
    for body in (draft(), draft(paymentMethod="sandbox_ok")):
        answer = service.post(body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/paymentMethod"


def test_the_order_waits_for_its_customer_in_sight(service: Service, stripe_server: StripeServer) -> None:
    """One acts, and the order continues with Stripe's event. The other cancels, and no money is held."""
    card = stripe_server.card(ASKS_CUSTOMER)
    acting, leaving = service.place_all([draft(paymentMethod=card)] * 2)
    for order_id in (acting, leaving):
        eventually(lambda order_id=order_id: "action" in service.get(order_id)["payment"])
    order = service.get(acting)
    action, reference = order["payment"]["action"], order["payment"]["reference"]
    assert (order["status"], order["payment"]["status"]) == ("pending", "pending")
    assert action["type"] == "use_stripe_sdk"

    stripe_server.act(reference, action["clientSecret"], success=True)
    intent = {"object": "payment_intent", "id": reference, "metadata": {"order_id": acting}}
    body = event_body("payment_intent.amount_capturable_updated", intent)
    headers = {**sign_as_stripe_does(body, now(), SIGNING_SECRET), "Content-Type": "application/json"}
    answer = service.http.post("/payment-events/stripe", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    order = ended(service, acting, "confirmed")
    assert "action" not in order["payment"]
    assert service.event_types(acting).count("payment.action_required") == 1

    assert service.put(leaving, {"status": "cancelled"}).status_code == 200
    assert ended(service, leaving, "cancelled")["payment"]["status"] == "voided"
    assert "action" not in service.get(leaving)["payment"]
    assert [intent["status"] for intent in stripe_server.intents(leaving)] == ["canceled"]


def test_while_stripe_fails_orders_wait_and_then_are_paid_once(
    service: Service, stripe_server: StripeServer
) -> None:
    """Rates, faults and lost answers, at every call; and the key is in no line of any log."""
    faults: list[dict[str, Any]] = [{"status": 429}, {"status": 500}, {"reset": True}]
    for path in ("payment_intents", r"payment_intents/\w+/confirm", r"payment_intents/\w+/capture"):
        for fault in faults:
            stripe_server.fail_next(path, times=4, **fault)
    order_ids = service.place_all([draft(paymentMethod=GOOD)] * 40)
    eventually(lambda: service.count(order_ids, status="confirmed") == len(order_ids), timeout=60)
    service.come_to_rest(order_ids)
    for order_id in order_ids:
        intents = stripe_server.intents(order_id)
        assert [intent["amount_received"] for intent in intents if intent["status"] == "succeeded"] == [1250]
        assert {intent["status"] for intent in intents} <= {"succeeded", "requires_confirmation"}
    logs = "".join(process.log.read_text() for process in service.stack.processes())
    assert API_KEY not in logs
    assert SIGNING_SECRET not in logs
    assert service.faults_logged() == []
    assert any(
        json.loads(line).get("event") == "payment outcome unknown"
        for line in logs.splitlines()
        if line[:1] == "{"
    )
