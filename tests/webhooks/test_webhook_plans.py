"""Queries of webhook deliveries do not cost more when there are more deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app import schema
from app.webhooks.delivery_store import WebhookDeliveries
from app.webhooks.model import STATUSES, delivery_id
from tests.support.plans import START, Explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.local.servers import MongoServer

ENDPOINTS = [f"{number:024x}" for number in range(1, 6)]
EACH = 400
# Of every endpoint but the last a few hundred are due.
NOW = START + timedelta(seconds=EACH - 10)

CALLS: dict[str, Callable[[WebhookDeliveries], object]] = {
    "the first endpoint due": lambda held: held.due_endpoint(NOW, None),
    "the next endpoint due": lambda held: held.due_endpoint(NOW, ENDPOINTS[1]),
    "no further endpoint due": lambda held: held.due_endpoint(NOW, ENDPOINTS[3]),
    "a claim": lambda held: held.claim(ENDPOINTS[0], NOW, NOW + timedelta(days=1)),
    "one": lambda held: held.get(ENDPOINTS[0], _id(0, 3)),
    "a page": lambda held: held.page(ENDPOINTS[1], STATUSES, None, 10),
    "a later page": lambda held: held.page(ENDPOINTS[1], STATUSES, _id(1, 200), 10),
    "a page of one status": lambda held: held.page(ENDPOINTS[1], ["failed"], _id(1, 200), 10),
    "a replay": lambda held: held.send_again(ENDPOINTS[0], _id(0, 3), NOW),
    "a purge": lambda held: held.purge([f"{7:024x}"]),
    "a removal of what has ended": lambda held: held.remove_ended(NOW, 10),
}


def _id(endpoint: int, number: int) -> str:
    at = START + timedelta(seconds=number)
    return delivery_id(f"{number:024x}", 1, ENDPOINTS[endpoint], at)


def _document(endpoint: int, number: int) -> dict[str, Any]:
    at = START + timedelta(seconds=number)
    status = STATUSES[number % 3] if endpoint < 4 else "delivered"
    document = {
        "_id": _id(endpoint, number),
        "endpointId": ENDPOINTS[endpoint],
        "orderId": f"{number:024x}",
        "sequence": 1,
        "type": "order.created",
        "at": at,
        "status": status,
        "attempts": [],
        "failures": 0,
    }
    return document | ({"dueBy": at} if status == "pending" else {"endedAt": at})


@pytest.fixture(scope="module")
def explained(mongo_server: MongoServer) -> Iterator[Explained]:
    """Two thousand deliveries to five endpoints."""
    filled = Explained(mongo_server.uri(f"plans_{ObjectId()}"))
    schema.apply(filled.database)
    filled.database["webhook_deliveries"].insert_many(
        _document(endpoint, number) for endpoint in range(5) for number in range(EACH)
    )
    yield filled
    filled.database.client.drop_database(filled.database.name)
    filled.database.client.close()


@pytest.mark.parametrize("name", CALLS)
def test_every_look_reads_little_more_than_it_gives(explained: Explained, name: str) -> None:
    held = WebhookDeliveries(explained.database)
    for plan in explained.plans(lambda: CALLS[name](held)):
        assert plan.scales, plan
        assert plan.keys <= plan.returned + 8, plan
        assert plan.documents <= plan.returned + 6, plan
