"""Refunds over the running service: as many at once as there like to be, and workers that die among them."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.servers import MongoServer
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Json, Service

ORDERS, KILLS, ON_HAND = 60, 6, 1000
LINES = [{"productId": "apple", "quantity": 4, "unitPrice": 3.00}]
# For every order at once: 5 and 6 fit into its 12 with one of the others, never all of them together.
ASKED: tuple[Json, ...] = (
    {"amount": 5},
    {"amount": 6, "products": [{"productId": "apple", "quantity": 2, "restock": True}]},
    {"products": [{"productId": "apple", "quantity": 1, "restock": True}]},
)


def test_no_refund_is_lost_or_doubled_though_workers_are_killed_among_them(
    serve: ServiceStarter, private_mongo: Callable[[], MongoServer]
) -> None:
    """Three refunds of every order at once, every fourth order cancelled, the worker killed in between."""
    service = serve(mongo_uri=private_mongo().uri("orders"))
    service.set_stock("apple", ON_HAND)
    body = {**draft(), "products": LINES, "totalAmount": 12.00}
    ids = service.place_all([body] * ORDERS)
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == ORDERS

    waves = [ids[start::KILLS] for start in range(KILLS)]
    answers: Counter[int] = Counter()
    for wave in waves:
        with ThreadPoolExecutor(8) as clients:
            answers.update(clients.map(lambda call: _refund(service, *call), _calls(wave)))
        for order_id in wave[::4]:
            assert service.put(order_id, {"status": "cancelled"}).status_code == 200
        eventually(lambda wave=wave: service.count(wave, refunds__status="succeeded"))
        service.stack.kill("worker")
        service.stack.start("worker")

    service.end_transactions()
    service.come_to_rest(ids, timeout=90)
    assert set(answers) == {202, 409}
    assert [fault for order_id in ids for fault in _faults(service, order_id)] == []
    held = sum(_held(service, order_id) for order_id in ids)
    assert service.on_hand("apple") == ON_HAND - held
    assert service.broken_chains(ids) == []


def _calls(order_ids: list[str]) -> list[tuple[str, int]]:
    return [(order_id, number) for order_id in order_ids for number in range(len(ASKED))]


def _refund(service: Service, order_id: str, number: int) -> int:
    """The status of the answer, given twice: what was asked under a key is asked again."""
    key = {"Idempotency-Key": f"refund-{number}"}
    first, again = (
        service.http.post(f"/orders/{order_id}/refunds", json=ASKED[number], headers=key) for _ in range(2)
    )
    if first.status_code == 202:
        assert (again.status_code, again.content) == (202, first.content)
    return first.status_code


def _faults(service: Service, order_id: str) -> list[str]:
    order: Any = service.database.orders.find_one({"_id": ObjectId(order_id)})
    payment: Any = service.database.sandbox_payments.find_one({"_id": order_id})
    refunds, kinds = order["refunds"], Counter(event["type"] for event in order["events"])
    given_back = sum(refund["amount"] for refund in refunds)
    faults = {
        "a refund did not succeed": any(refund["status"] != "succeeded" for refund in refunds),
        "a refund has ended twice": kinds["refund.succeeded"] != len(refunds),
        "the order says another sum": order["payment"]["refundedAmount"] != given_back,
        "the provider says another sum": payment["refunded"] != given_back,
        "the provider has other refunds": len(payment["refunds"]) != len(refunds),
        "more than was captured": given_back > payment["captured"],
        "cancelled and not given back": order["status"] == "cancelled" and given_back != 1200,
        "goods are not back": order["status"] == "cancelled" and _held(service, order_id) != 0,
        "other goods are back": order["status"] == "confirmed" and _held(service, order_id) != _kept(refunds),
    }
    return [f"{order_id}: {fault}" for fault, found in faults.items() if found]


def _held(service: Service, order_id: str) -> int:
    return -sum(row["quantity"] for row in service.database.stock_movements.find({"orderId": order_id}))


def _kept(refunds: list[Any]) -> int:
    back = [line for refund in refunds for line in refund.get("products", ()) if line["restock"]]
    return 4 - sum(line["quantity"] for line in back)
