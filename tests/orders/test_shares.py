"""The arithmetic of shares: dealt to the last minor unit, in a way that everybody can repeat by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.orders.shares import below_zero, by_line, deal, total


def line(quantity: int, price: int | None = None) -> dict[str, Any]:
    return {"quantity": quantity} | ({} if price is None else {"unitPrice": price})


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        (10, [1, 1, 1], [4, 3, 3]),
        (-10, [1, 1, 1], [-4, -3, -3]),
        (11, [1, 1, 1], [4, 4, 3]),
        (10, [2, 3, 2], [3, 4, 3]),
        (100, [1, 2, 3], [17, 33, 50]),
        (1, [0, 1], [0, 1]),
        (0, [5, 5], [0, 0]),
        (10**13, [10**19, 1], [10**13, 0]),
    ],
)
def test_the_largest_remainders_get_what_is_left(amount: int, weights: list[int], parts: list[int]) -> None:
    assert deal(amount, weights) == parts


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**19), min_size=1, max_size=20).filter(any))
def test_parts_add_up_and_are_less_than_one_unit_off(amount: int, weights: list[int]) -> None:
    parts = deal(amount, weights)
    assert sum(parts) == amount
    pairs = zip(parts, weights, strict=True)
    assert all(abs(part * sum(weights) - amount * weight) < sum(weights) for part, weight in pairs)
    assert deal(-amount, weights) == [-part for part in parts]


@pytest.mark.parametrize(
    ("adjustment", "parts"),
    [
        ({"kind": "fee", "amount": 7}, [2, 5]),
        ({"kind": "discount", "amount": -7}, [-2, -5]),
        ({"kind": "tax", "amount": 7}, [2, 5]),
        ({"kind": "tax", "amount": 7, "included": False}, [2, 5]),
        ({"kind": "tax", "amount": 7, "included": True}, [0, 0]),
        ({"kind": "tax", "amount": 7, "included": True, "line": 1}, [0, 0]),
        ({"kind": "shipping", "amount": 7}, [0, 0]),
        ({"kind": "tip", "amount": 7}, [0, 0]),
        ({"kind": "shipping", "amount": 7, "line": 2}, [0, 7]),
        ({"kind": "tip", "amount": 7, "line": 1}, [7, 0]),
        ({"kind": "discount", "amount": -7, "line": 1}, [-7, 0]),
    ],
)
def test_each_adjustment_is_borne_by_its_lines(adjustment: dict[str, Any], parts: list[int]) -> None:
    assert by_line([line(2, 100), line(1, 500)], adjustment) == parts


def test_lines_that_cost_nothing_bear_by_their_quantity() -> None:
    assert by_line([line(3, 0), line(1, 0)], {"kind": "fee", "amount": 8}) == [6, 2]
    assert by_line([line(3, 0), line(1, 5)], {"kind": "fee", "amount": 8}) == [0, 8]


def test_the_total_leaves_out_included_taxes() -> None:
    adjustments = [{"kind": "fee", "amount": 3}, {"kind": "tax", "amount": 5, "included": True}]
    assert total([line(2, 100), line(1, 50)], adjustments) == 253
    assert total([line(2, 100), line(1)], adjustments) is None


def test_the_discount_that_is_too_much_is_named_with_its_line() -> None:
    lines = [line(1, 10), line(1, 20)]
    fine = [{"kind": "discount", "amount": -10, "line": 1}, {"kind": "discount", "amount": -20, "line": 2}]
    assert below_zero(lines, fine) == {}
    assert below_zero(lines, [*fine, {"kind": "discount", "amount": -1, "line": 2}]) == {2: 2}
    assert below_zero(lines, [*fine, {"kind": "fee", "amount": 1, "line": 1}]) == {}
    assert below_zero(lines, [{"kind": "discount", "amount": -33}]) == {0: 1}
