"""A list costs by what it shows, not by how much there is; the database itself counts the work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.clock import id_at
from app.orders.model import create
from app.orders.numbers import number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

FEW, MANY = 1_000, 100_000
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
STATUSES = ("confirmed", "shipped", "delivered", "cancelled")
LIMIT = 10

FILTERS = (
    {},
    {"sort": "createdAt"},
    {"userId": "user-1"},
    {"status": "shipped"},
    {"status": ["shipped", "delivered"]},
    {"status": "pending"},
    {"paymentStatus": "captured"},
    {"productId": "product-3"},
    {"reference": "reference-1"},
    {"createdFrom": "2024-01-01T00:05:00Z"},
    {"createdTo": "2024-01-01T00:10:00Z"},
    {"createdFrom": "2024-01-01T00:05:00Z", "createdTo": "2024-01-01T00:10:00Z", "sort": "createdAt"},
    {"userId": "user-1", "status": "delivered"},
    {"userId": "user-1", "productId": "product-3", "sort": "createdAt"},
    {"status": "cancelled", "paymentStatus": "voided", "createdFrom": "2024-01-01T00:05:00Z"},
)


@pytest.fixture
def two_services(serve: ServiceStarter, mongo_server: Any) -> Iterator[tuple[Service, Service]]:
    """One with few orders and one with many, alike in everything else."""
    names = ("many_orders_few", "many_orders_many")
    services = [serve(mongo_uri=mongo_server.uri(name), roles={"web": 1}) for name in names]
    for service, number in zip(services, (FEW, MANY), strict=True):
        _seed(service, number)
        service.database.command("profile", 2)
    yield services[0], services[1]
    for service in services:
        service.database.command("profile", 0)
        service.database.client.drop_database(service.database.name)


def test_a_page_among_a_hundred_thousand_orders_is_as_much_work_as_among_a_thousand(
    two_services: tuple[Service, Service],
) -> None:
    """This holds for every filter, at any position of the list."""
    few, many = two_services
    for wanted in FILTERS:
        small, large = (_work_of_a_page(service, wanted) for service in (few, many))
        assert large["keys"] <= small["keys"] * 1.2 + 3, wanted
        assert large["docs"] <= small["docs"] * 1.2 + 3, wanted

    first, *_, last = works = list(_walk(many, pages=MANY // 100))
    assert len(works) == MANY // 100
    assert max(work["docs"] for work in works) <= first["docs"]
    assert max(work["keys"] for work in works) <= first["keys"] + 1
    assert last["docs"] <= 100


def _seed(service: Service, number: int) -> None:
    """Orders a second apart, all alike but for what they are filtered by.

    What a filter asks for is as frequent among few as among many: each field has a period of its own.
    """
    made = create(id_at(BEGIN), BEGIN, "seed", _stated("seed"), None)
    documents = []
    for n in range(number):
        at = BEGIN + timedelta(seconds=n)
        status = "pending" if n % 11 == 7 else STATUSES[n % len(STATUSES)]
        paid = {"pending": "pending", "cancelled": "voided"}.get(status, "captured")
        stated = _stated(f"user-{n % 3}", f"product-{n % 7}")
        document: dict[str, Any] = {
            **made,
            **stated,
            "_id": ObjectId(id_at(at, n)),
            "number": number_of(id_at(at, n)),
            "status": status,
            "payment": {**made["payment"], "status": paid},
            "createdAt": at,
            "updatedAt": at,
            "visible": True,
            "attempts": 0,
            "announced": 1,
        }
        del document["id"]
        if n % 5 < 2:
            document["reference"] = f"reference-{n % 5}"
        documents.append(document)
        if len(documents) == 5_000 or n == number - 1:
            service.database.orders.insert_many(documents, ordered=False)
            documents = []


def _stated(user: str, product: str = "product") -> dict[str, Any]:
    lines = [{"productId": product, "quantity": 1}]
    return {"userId": user, "products": lines, "totalAmount": 100, "currency": "USD"}


def _work_of_a_page(service: Service, wanted: dict[str, Any]) -> dict[str, int]:
    """The cost of the second page, so that a cursor is part of it; of the first page without a second."""
    answer = service.http.get("/orders", params={**wanted, "limit": LIMIT})
    assert answer.status_code == 200, answer.text
    cursor = answer.json().get("nextCursor")
    if cursor:
        answer = service.http.get("/orders", params={**wanted, "limit": LIMIT, "cursor": cursor})
        assert answer.status_code == 200, answer.text
        assert answer.json()["orders"]
    return _last_work(service)


def _walk(service: Service, pages: int) -> Iterator[dict[str, int]]:
    params: dict[str, Any] = {"limit": 100}
    for _ in range(pages):
        answer = service.http.get("/orders", params=params)
        assert len(answer.json()["orders"]) == 100
        yield _last_work(service)
        params["cursor"] = answer.json().get("nextCursor")


def _last_work(service: Service) -> dict[str, int]:
    """The database's profile of the latest query of orders."""
    namespace = f"{service.database.name}.orders"
    profile = service.database["system.profile"]
    (work,) = profile.find({"ns": namespace, "op": "query"}).sort("$natural", -1).limit(1)
    assert "COLLSCAN" not in work["planSummary"]
    assert not work.get("hasSortStage")
    return {"keys": work["keysExamined"], "docs": work["docsExamined"]}
