"""The candidates of a diagnosis are found by indexes, and without reading a document of an order."""

from __future__ import annotations

import pytest

from app.clock import id_at
from app.diagnosis.model import STATES
from app.diagnosis.store import Candidates
from tests.support.plans import MIDDLE, Explained


@pytest.mark.parametrize("after", [None, id_at(MIDDLE)], ids=["first page", "later page"])
@pytest.mark.parametrize("state", STATES)
def test_candidates_are_found_by_indexes(explained: Explained, state: str, after: str | None) -> None:
    for plan in explained.plans(lambda: Candidates(explained.database).of(state, after, 50)):
        assert "COLLSCAN" not in plan.stages, plan
        assert plan.documents <= plan.returned, plan
