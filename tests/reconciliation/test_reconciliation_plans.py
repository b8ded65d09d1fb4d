"""A reconciliation reads each stretch of every book by an index, and next to nothing beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from app.clock import id_at, new_id
from app.orders.purged_store import PurgedOrders
from app.reconciliation.kinds import SCOPES
from app.reconciliation.records_store import Audit
from app.reconciliation.store import Reconciliations
from tests.support.plans import END, MIDDLE, START, Explained, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.local.servers import MongoServer

REPORT = new_id(START)
ONE = id_at(MIDDLE)


@pytest.fixture(scope="module")
def explained(mongo_server: MongoServer) -> Iterator[Explained]:
    """A few thousand orders with what tells of them."""
    filled = Explained(mongo_server.uri(f"plans_{ObjectId()}"))
    fill(filled.database)
    yield filled
    filled.database.client.drop_database(filled.database.name)
    filled.database.client.close()


READS: dict[str, Callable[[Audit, Reconciliations, PurgedOrders], object]] = {
    "a stretch of all books": lambda audit, *_: audit.stretch(ONE, id_at(END), 100, SCOPES, REPORT),
    "some orders anew": lambda audit, *_: audit.dossiers([ONE, id_at(START)], SCOPES),
    "the first movements of products": lambda audit, *_: audit.first_movements(["product-1", "none"]),
    "payments laid down": lambda audit, *_: audit.gathered(REPORT, ONE),
    "purged orders": lambda audit, reports, purged: purged.among([ONE]),
    "reports under way": lambda audit, reports, *_: reports.running(),
    "a page of reports": lambda audit, reports, *_: reports.page(ONE, 25),
    "differences": lambda audit, reports, *_: reports.differences(REPORT, f"{REPORT}:x", 25),
    "suspicions": lambda audit, reports, *_: reports.suspected(REPORT, 25),
    "old reports": lambda audit, reports, *_: reports.forget_before(MIDDLE),
}


@pytest.mark.parametrize("name", READS)
def test_what_a_reconciliation_reads_is_little_more_than_it_finds(explained: Explained, name: str) -> None:
    database = explained.database
    books = Audit(database), Reconciliations(database), PurgedOrders(database)
    for plan in explained.plans(lambda: READS[name](*books)):
        assert plan.scales, plan
        assert plan.documents <= plan.returned + 1, plan
        assert plan.keys <= 2 * plan.returned + 25, plan


def test_levels_are_read_with_the_movements_of_their_products_alone(explained: Explained) -> None:
    levels, sums = explained.plans(lambda: Audit(explained.database).levels("product-1", 5))
    assert levels.scales, levels
    assert levels.documents <= 5, levels
    assert sums.scales, sums
    moved = explained.database["stock_movements"].count_documents(
        {"productId": {"$gt": "product-1", "$lte": "product-102"}}
    )
    assert sums.documents <= moved, sums
