"""The life of an order over the routes, on a database in memory: a test that needs no server at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mongomock
import pytest

from app import create_app
from app.clock import now
from app.config import Settings
from app.services import services_over

if TYPE_CHECKING:
    from flask.testing import FlaskClient

ORDER = {"userId": "user-1", "products": [{"productId": "tea", "quantity": 2}], "totalAmount": 20.5}


@pytest.fixture
def client() -> FlaskClient:
    """A client of the service over a database in memory."""
    database: Any = mongomock.MongoClient(tz_aware=True).db
    database.orders.create_index([("idempotency.key", 1)], unique=True, sparse=True)
    settings = Settings.from_env({"AUTH": "off"})
    return create_app(settings, services_over(database, settings, clock=now)).test_client()


def test_an_order_is_placed_once_read_cancelled_and_deleted(client: FlaskClient) -> None:
    placed = [client.post("/orders", json=ORDER, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert placed[0].data == placed[1].data
    order = placed[0].json["order"]
    path = f"/orders/{order['id']}"
    assert client.get(path).json == order
    assert client.get("/orders?userId=user-1&productId=tea").json["orders"] == [order]
    assert client.get("/orders?status=shipped").json["orders"] == []
    cancelled = client.put(path, json={"status": "cancelled"}).json["order"]
    assert (cancelled["status"], cancelled["stock"]["status"]) == ("cancelled", "released")
    events = client.get(f"{path}/events").json["events"]
    assert [event["type"] for event in events] == ["order.created", "order.cancelled", "stock.released"]
    assert client.get(f"{path}/events/verify").json == {"intact": True}
    assert client.get(f"{path}?version=1").json == order
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get("/orders").json == {"orders": []}
