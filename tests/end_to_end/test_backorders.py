"""More customers than goods, and goods that come bit by bit: the oldest orders are served first, and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bson import ObjectId

from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.servers import MongoServer
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

CLIENTS, ORDERS, ON_HAND, DELIVERIES, DELIVERED = 64, 1_000, 100, 10, 30
PRODUCT = "awaited"


def test_of_a_thousand_backorders_the_oldest_get_what_comes_though_workers_are_killed(
    serve: ServiceStarter, private_mongo: Callable[[], MongoServer]
) -> None:
    """From 64 clients at once, for a hundred pieces, and then for three hundred in ten deliveries."""
    service = serve(mongo_uri=private_mongo().uri("orders"))
    service.set_stock(PRODUCT, ON_HAND)
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = draft(PRODUCT, onShortage="backorder", backorderUntil=until)
    ids = service.place_all([body] * ORDERS, CLIENTS)
    eventually(lambda: not service.count(ids, stock__status="pending"), timeout=90)
    waiting = _waiting(service, ids)
    assert len(waiting) == ORDERS - ON_HAND

    for delivery in range(DELIVERIES):
        moved = {"quantity": DELIVERED, "reason": "delivery"}
        assert service.http.post(f"/stock/{PRODUCT}/adjustments", json=moved).status_code == 201
        if delivery % 4 == 1:
            service.stack.kill("worker")
            service.stack.start("worker")
            service.end_transactions()
        waiting = waiting[DELIVERED:]
        left = len(waiting)
        eventually(lambda left=left: service.count(ids, stock__status="backordered") <= left, timeout=60)
        assert _waiting(service, ids) == waiting

    served = sorted(set(ids) - set(waiting))
    eventually(lambda: service.count(served, status="confirmed") == len(served), timeout=90)
    service.come_to_rest(ids, timeout=90)
    assert len(served) == ON_HAND + DELIVERIES * DELIVERED
    assert service.count(waiting, status="pending", payment__status="pending") == len(waiting)
    assert service.database.sandbox_payments.count_documents({}) == len(served)
    assert service.database.stock_movements.count_documents({"kind": "decrement"}) == len(served)
    level = service.http.get(f"/stock/{PRODUCT}").json()
    assert (level["onHand"], level["held"]) == (0, 0)
    assert books.faults(service, served) == []
    assert service.broken_chains([*served[::20], *waiting[::40]]) == []


def _waiting(service: Service, ids: list[str]) -> list[str]:
    """Those of the orders that wait for stock, oldest first."""
    among = {"_id": {"$in": [ObjectId(order_id) for order_id in ids]}, "stock.status": "backordered"}
    return [str(found["_id"]) for found in service.database.orders.find(among, {"_id": 1}).sort("_id")]
