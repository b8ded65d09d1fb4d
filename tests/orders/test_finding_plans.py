"""The plans of the queries that find orders by their keys and by their last change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.clock import id_at
from app.orders.numbers import number_of
from app.orders.query_store import OrderQuery
from app.orders.search_keys_store import SearchKeys
from app.orders.store import Orders
from tests.support.plans import END, INDEX, MIDDLE, START, Explained

ONE = id_at(START + timedelta(seconds=1))
KEYS: dict[str, dict[str, Any]] = {
    "a number": {"number": number_of(ONE)},
    "a number and a user": {"number": number_of(ONE), "user_id": "user-7"},
    "an email": {"email": "customer-10@example.org"},
    "a tag": {"tags": ("vip",)},
    "two tags": {"tags": ("gift", "vip")},
    "a tracking number": {"tracking_number": "parcel-24"},
    "any id": {"anything": ONE},
    "any number": {"anything": number_of(ONE)},
    "any reference": {"anything": "reference-30"},
    "any email": {"anything": "Customer-10@example.org"},
    "any tracking number": {"anything": "parcel-24"},
    "any text of nobody": {"anything": "nothing"},
}
CHANGES: dict[str, dict[str, Any]] = {
    "all": {},
    "a time": {"updated_from": MIDDLE, "updated_to": MIDDLE + timedelta(minutes=10)},
    "a frequent status": {"statuses": ("delivered",)},
}


@pytest.mark.parametrize("after", [None, id_at(MIDDLE)], ids=["first page", "page in the middle"])
@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
@pytest.mark.parametrize("name", KEYS)
def test_a_page_by_a_key_reads_little_more_than_it_shows(
    explained: Explained, name: str, descending: bool, after: str | None
) -> None:
    """One step of the index for each kind of key, and no sort."""
    query = OrderQuery(limit=25, descending=descending, after=after, **KEYS[name])
    for plan in explained.plans(lambda: list(Orders(explained.database, INDEX).page(query))):
        assert plan.scales, plan
        assert plan.documents <= plan.returned + 5, plan
        assert plan.keys <= plan.returned + 10, plan


@pytest.mark.parametrize("after", [None, MIDDLE], ids=["first page", "page in the middle"])
@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_page_by_the_last_change_is_a_range_of_its_index(
    explained: Explained, name: str, descending: bool, after: Any
) -> None:
    """Behind a cursor, too. Another filter costs what it leaves out of the range."""
    place = {"after": id_at(after), "after_update": after} if after else {}
    query = OrderQuery(limit=25, descending=descending, by_update=True, **place, **CHANGES[name])
    for plan in explained.plans(lambda: list(Orders(explained.database, INDEX).page(query))):
        assert plan.scales, plan
        least = 1 if name != "a frequent status" else 12
        assert plan.documents <= least * (plan.returned + 2), plan


@pytest.mark.parametrize("filters", [{"user_id": "user-7"}, *KEYS.values()])
def test_a_narrow_filter_by_the_last_change_reads_its_own_orders_alone(
    explained: Explained, filters: dict[str, Any]
) -> None:
    """Those are sorted in memory."""
    query = OrderQuery(limit=25, by_update=True, **filters)
    for plan in explained.plans(lambda: list(Orders(explained.database, INDEX).page(query))):
        assert "COLLSCAN" not in plan.stages, plan
        assert plan.documents <= 75, plan


@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
def test_held_orders_have_an_index_of_their_own(explained: Explained, descending: bool) -> None:
    """It has no other orders, in the order of the list."""
    query = OrderQuery(limit=25, descending=descending, held=True)
    for plan in explained.plans(lambda: list(Orders(explained.database, INDEX).page(query))):
        assert plan.scales, plan
        assert plan.documents <= plan.returned + 1, plan


@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
def test_overdue_orders_are_found_by_an_index(explained: Explained, descending: bool) -> None:
    query = OrderQuery(limit=25, descending=descending, overdue=True, overdue_at=END)
    for plan in explained.plans(lambda: list(Orders(explained.database, INDEX).page(query))):
        assert "COLLSCAN" not in plan.stages, plan


def test_orders_without_a_number_are_found_by_an_index_of_their_own(explained: Explained) -> None:
    """Where all have one, nothing is read."""
    (plan,) = explained.plans(lambda: SearchKeys(explained.database, INDEX).number(500))
    assert plan.scales, plan
    assert plan.documents == plan.keys == 0, plan
