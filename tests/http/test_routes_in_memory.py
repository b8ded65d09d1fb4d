"""The life of an order over the routes, on a mongomock: fast, where one client at a time is all there is.

What mongomock cannot show (races, transactions, durability, query plans) is shown on a real server.
"""

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


@pytest.fixture
def order(client: FlaskClient) -> dict[str, Any]:
    """An order that was placed."""
    return client.post("/orders", json=ORDER).json["order"]


def test_an_order_is_answered_as_it_was_placed(client: FlaskClient, order: dict[str, Any]) -> None:
    shown = client.get(f"/orders/{order['id']}")
    assert shown.json == order
    assert shown.headers["ETag"] == '"v1"'
    numbered = [{"line": number, **line} for number, line in enumerate(ORDER["products"], 1)]
    assert {field: shown.json[field] for field in ORDER} == {**ORDER, "products": numbered}


def test_a_key_used_again_gives_the_same_bytes_and_no_second_order(client: FlaskClient) -> None:
    answers = [client.post("/orders", json=ORDER, headers={"Idempotency-Key": "once"}) for _ in range(3)]
    assert len({answer.data for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    assert len(client.get("/orders").json["orders"]) == 1


def test_a_key_used_with_another_body_is_refused(client: FlaskClient) -> None:
    client.post("/orders", json=ORDER, headers={"Idempotency-Key": "once"})
    other = client.post("/orders", json={**ORDER, "totalAmount": 1}, headers={"Idempotency-Key": "once"})
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")


def test_a_cancelled_order_releases_its_stock_in_the_same_change(
    client: FlaskClient, order: dict[str, Any]
) -> None:
    answer = client.put(f"/orders/{order['id']}", json={"status": "cancelled", "reason": "changed my mind"})
    cancelled = answer.json["order"]
    assert (cancelled["status"], cancelled["stock"]["status"]) == ("cancelled", "released")
    assert cancelled["cancellation"] == {"reason": "requested", "detail": "changed my mind"}
    assert cancelled["version"] == 3


def test_a_pending_order_cannot_be_shipped_and_the_answer_says_what_is_allowed(
    client: FlaskClient, order: dict[str, Any]
) -> None:
    refused = client.put(f"/orders/{order['id']}", json={"status": "shipped"})
    assert (refused.status_code, refused.json["code"]) == (409, "illegal_transition")
    assert refused.json["allowed"] == ["cancelled"]


def test_a_past_version_is_the_order_as_it_was(client: FlaskClient, order: dict[str, Any]) -> None:
    client.put(f"/orders/{order['id']}", json={"status": "cancelled"})
    assert client.get(f"/orders/{order['id']}?version=1").json == order
    assert client.get(f"/orders/{order['id']}?version=4").status_code == 404


def test_the_events_have_every_change_and_a_chain_of_hashes(
    client: FlaskClient, order: dict[str, Any]
) -> None:
    client.put(f"/orders/{order['id']}", json={"status": "cancelled"})
    events = client.get(f"/orders/{order['id']}/events").json["events"]
    assert [event["type"] for event in events] == ["order.created", "order.cancelled", "stock.released"]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert client.get(f"/orders/{order['id']}/events/verify").json == {"intact": True}


def test_a_deleted_order_is_gone_from_everywhere(client: FlaskClient, order: dict[str, Any]) -> None:
    assert client.delete(f"/orders/{order['id']}").status_code == 204
    for path in ("", "/events", "/events/verify", "?version=1"):
        assert client.get(f"/orders/{order['id']}{path}").status_code == 404
    assert client.get("/orders").json == {"orders": []}


@pytest.mark.parametrize(
    ("query", "found"),
    [("userId=user-1", 1), ("userId=user-2", 0), ("status=pending", 1), ("productId=tea&status=shipped", 0)],
)
def test_a_list_has_exactly_the_orders_that_match_its_filters(
    client: FlaskClient, order: dict[str, Any], query: str, found: int
) -> None:
    assert client.get(f"/orders?{query}").json["orders"] == [order][:found]


def test_pages_follow_each_other_without_gap_or_repetition(client: FlaskClient) -> None:
    placed = [client.post("/orders", json=ORDER).json["order"]["id"] for _ in range(5)]
    seen, path = [], "/orders?limit=2"
    while path:
        page = client.get(path).json
        seen += [order["id"] for order in page["orders"]]
        path = f"/orders?limit=2&cursor={page['nextCursor']}" if "nextCursor" in page else ""
    assert sorted(seen) == sorted(placed)
    assert seen == sorted(seen, reverse=True)
