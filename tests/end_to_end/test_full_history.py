"""An order of which no refund succeeds is driven to the bound of its log, and ended all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson import ObjectId

from app.orders.bounds import LIMITS
from tests.end_to_end.service import draft, eventually
from tests.support.payment_events import SECRET, event, signed

if TYPE_CHECKING:
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Json, Service

TOTAL, ON_HAND = 12.00, 50


def test_a_full_order_is_cancelled_deleted_and_refunded_at_the_provider(serve: ServiceStarter) -> None:
    service = serve(settings={"PAYMENT_WEBHOOK_SECRET": SECRET})
    service.set_stock("apple", ON_HAND)
    body = {**draft("apple", 3, paymentMethod="sandbox_refund_fails"), "totalAmount": TOTAL}
    order_id = service.confirmed(body)["id"]
    _ask_until_full(service, order_id)
    assert 950 < service.get(order_id)["version"] <= LIMITS["refund"].events

    assert service.put(order_id, {"status": "cancelled"}).status_code == 200
    _await_ended(service, order_id)
    assert service.http.delete(f"/orders/{order_id}").status_code == 204
    refunded = {"status": "refunded", "refunded": round(TOTAL * 100)}
    service.database.sandbox_payments.update_one({"_id": order_id}, {"$set": refunded})
    call = signed(event(order_id, "payment.refunded"))
    answer = service.http.post("/payment-events/sandbox", content=call.body, headers=call.headers)
    assert answer.status_code == 202
    eventually(lambda: _stored(service, order_id)["payment"]["status"] == "refunded")
    eventually(lambda: "dueBy" not in _stored(service, order_id), timeout=60)

    order = _stored(service, order_id)
    assert order["version"] < LIMITS["delete"].events
    assert (order["stock"]["status"], service.on_hand("apple")) == ("restocked", ON_HAND)
    assert order["announced"] == order["version"]
    eventually(lambda: _fed(service, order_id) == list(range(1, order["version"] + 1)))


def _ask_until_full(service: Service, order_id: str) -> None:
    """Asks for refunds and retries all of them again and again, until there is no room for any."""
    refunds = f"/orders/{order_id}/refunds"
    asked: list[str] = []
    while len(asked) < 30:
        answer = service.http.post(refunds, json={"amount": 0.01})
        assert answer.status_code == 202, answer.text
        asked.append(answer.json()["id"])
    while True:
        _await_ended(service, order_id)
        answers = [service.http.post(f"{refunds}/{refund_id}/retry") for refund_id in asked]
        refused = {answer.json()["code"] for answer in answers if answer.status_code != 202}
        assert refused <= {"history_full"}
        if not any(answer.status_code == 202 for answer in answers):
            return


def _await_ended(service: Service, order_id: str) -> None:
    def ended() -> bool:
        found = service.http.get(f"/orders/{order_id}/refunds").json()["refunds"]
        return all(refund["status"] == "failed" for refund in found)

    eventually(ended)


def _stored(service: Service, order_id: str) -> Json:
    return dict(service.database.orders.find_one({"_id": ObjectId(order_id)}, {"events": 0}) or {})


def _fed(service: Service, order_id: str) -> list[int]:
    rows = service.database.feed.find({"orderId": ObjectId(order_id)}).sort("_id")
    return [row["sequence"] for row in rows]
