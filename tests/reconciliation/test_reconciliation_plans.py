"""A reconciliation reads each range of every ledger by an index, and hardly more than it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.clock import id_at, new_id
from app.orders.purged_store import PurgedOrders
from app.reconciliation.records_store import Audit
from app.reconciliation.report import SCOPES
from app.reconciliation.store import Reconciliations
from tests.support.plans import END, MIDDLE, START, Explained

if TYPE_CHECKING:
    from collections.abc import Callable


REPORT = new_id(START)
ONE = id_at(MIDDLE)


READS: dict[str, Callable[[Audit, Reconciliations, PurgedOrders], object]] = {
    "a range of all ledgers": lambda audit, *_: audit.read_range(ONE, id_at(END), 100, SCOPES, REPORT),
    "some orders again": lambda audit, *_: audit.read([ONE, id_at(START)], SCOPES),
    "the first movements of products": lambda audit, *_: audit.first_movements(["product-1", "none"]),
    "staged payments": lambda audit, *_: audit.staged(REPORT, ONE),
    "purged orders": lambda audit, reports, purged: purged.among([ONE]),
    "running reports": lambda audit, reports, *_: reports.running(),
    "a page of reports": lambda audit, reports, *_: reports.page(ONE, 25),
    "differences": lambda audit, reports, *_: reports.differences(REPORT, f"{REPORT}:x", 25),
    "candidates": lambda audit, reports, *_: reports.candidates(REPORT, 25),
    "old reports": lambda audit, reports, *_: reports.forget_before(MIDDLE),
}


@pytest.mark.parametrize("name", READS)
def test_a_reconciliation_reads_little_more_than_it_finds(explained: Explained, name: str) -> None:
    database = explained.database
    stores = Audit(database), Reconciliations(database), PurgedOrders(database)
    for plan in explained.plans(lambda: READS[name](*stores)):
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
