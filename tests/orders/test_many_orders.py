"""A list costs by what it shows, not by how much there is; the database itself counts the work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo import WriteConcern

from app import create_app
from app.clock import id_at
from app.config import Settings
from app.mongo.database import connect
from app.orders.model import create
from app.orders.numbers import number_of
from app.services import services_over
from tests.support.servers import migrate
from tests.support.web_fixtures import NO_BROKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.mongo.database import OrderDatabase
    from deploy.local.servers import MongoServer

pytestmark = pytest.mark.slow

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


class Listing:
    """A database with so many orders, and a caller of the service over it."""

    def __init__(self, uri: str, number: int) -> None:
        environ = {"AUTH": "off", "REDIS_URL": NO_BROKER, "MONGO_URI": uri}
        migrate(environ)
        settings = Settings.from_env(environ)
        self.database = connect(uri)
        self.client = create_app(settings, services_over(self.database, settings)).test_client()
        _seed(self.database, number)
        self.database.command("profile", 2)

    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """A page of the list."""
        answer = self.client.get("/orders", query_string=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.get_json())

    def last_work(self) -> dict[str, int]:
        """The database's profile of the latest query of orders."""
        profile = self.database["system.profile"]
        among = {"ns": f"{self.database.name}.orders", "op": "query"}
        (work,) = profile.find(among).sort("$natural", -1).limit(1)
        assert "COLLSCAN" not in work["planSummary"]
        assert not work.get("hasSortStage")
        return {"keys": work["keysExamined"], "docs": work["docsExamined"]}


@pytest.fixture
def listings(mongo_server: MongoServer) -> Iterator[tuple[Listing, Listing]]:
    """One with few orders and one with many, alike in everything else."""
    numbers = {"few_orders": FEW, "many_orders": MANY}
    few, many = (Listing(mongo_server.uri(name), number) for name, number in numbers.items())
    yield few, many
    for listing in (few, many):
        listing.database.command("profile", 0)
        listing.database.client.drop_database(listing.database.name)
        listing.database.client.close()


def test_a_page_among_a_hundred_thousand_orders_is_as_much_work_as_among_a_thousand(
    listings: tuple[Listing, Listing],
) -> None:
    """This holds for every filter, at any position of the list."""
    few, many = listings
    for wanted in FILTERS:
        small, large = (_work_of_a_page(listing, wanted) for listing in (few, many))
        assert large["keys"] <= small["keys"] * 1.2 + 3, wanted
        assert large["docs"] <= small["docs"] * 1.2 + 3, wanted

    first, *_, last = works = list(_walk(many, pages=MANY // 100))
    assert len(works) == MANY // 100
    assert max(work["docs"] for work in works) <= first["docs"]
    assert max(work["keys"] for work in works) <= first["keys"] + 1
    assert last["docs"] <= 100


def _seed(database: OrderDatabase, number: int) -> None:
    """Orders a second apart, all alike but for what they are filtered by.

    What a filter asks for is as frequent among few as among many: each field has a period of its own.
    """
    made = create(id_at(BEGIN), BEGIN, "seed", _stated("seed"), None)
    orders = database["orders"].with_options(write_concern=WriteConcern(1))
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
            # The database checks the few. The many are like them.
            orders.insert_many(documents, ordered=False, bypass_document_validation=number > FEW)
            documents = []


def _stated(user: str, product: str = "product") -> dict[str, Any]:
    lines = [{"productId": product, "quantity": 1}]
    return {"userId": user, "products": lines, "totalAmount": 100, "currency": "USD"}


def _work_of_a_page(listing: Listing, wanted: dict[str, Any]) -> dict[str, int]:
    """The cost of the second page, so that a cursor is part of it; of the first page without a second."""
    page = listing.get({**wanted, "limit": LIMIT})
    if cursor := page.get("nextCursor"):
        assert listing.get({**wanted, "limit": LIMIT, "cursor": cursor})["orders"]
    return listing.last_work()


def _walk(listing: Listing, pages: int) -> Iterator[dict[str, int]]:
    query: dict[str, Any] = {"limit": 100}
    for _ in range(pages):
        page = listing.get(query)
        assert len(page["orders"]) == 100
        yield listing.last_work()
        query["cursor"] = page.get("nextCursor")
