"""The arithmetic of shares: dealt to the last minor unit, in a way that everybody can repeat by hand."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.money import to_text
from app.orders.shares import KINDS, Costs, Pieces, below_zero, by_line, deal, total

if TYPE_CHECKING:
    from collections.abc import Iterator


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
def test_the_largest_remainders_get_the_rest(amount: int, weights: list[int], parts: list[int]) -> None:
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


SHARED = [line(3, 1000), line(2, 500)]
WELCOME = [
    {"kind": "shipping", "amount": 490},
    {"kind": "discount", "amount": -1000},
    {"kind": "fee", "amount": 100, "line": 1},
    {"kind": "tax", "amount": 5, "included": True},
    {"kind": "tip", "amount": 300},
]


def test_the_pieces_of_a_line_cost_its_share_piece_by_piece() -> None:
    """30.00 of 40.00 bear 7.50 of the discount; 30.00 + 1.00 - 7.50 is 23.50."""
    costs = Costs(SHARED, WELCOME)
    assert [costs.share(1), costs.share(2)] == [2350, 750]
    each = [costs.breakdown([Pieces(1, 1, before)], shipping=False) for before in range(3)]
    assert [sum(parts.values()) for parts in each] == [783, 783, 784]
    assert [parts["discount"] for parts in each] == [-250, -250, -250]
    assert [parts["fee"] for parts in each] == [33, 33, 34]
    assert [parts["products"] for parts in each] == [1000, 1000, 1000]
    assert each[0].keys() == {"products", *KINDS}


def test_the_shipping_of_the_order_goes_back_with_no_piece_but_on_request() -> None:
    costs = Costs(SHARED, WELCOME)
    assert costs.breakdown([], shipping=True) == {**dict.fromkeys(KINDS, 0), "products": 0, "shipping": 490}
    assert costs.breakdown([Pieces(2, 1, 0)], shipping=True)["shipping"] == 490


def test_a_requested_amount_is_broken_down_with_the_rest_as_products() -> None:
    parts = Costs(SHARED, WELCOME).breakdown([Pieces(1, 3, 0)], shipping=True, amount=100)
    assert sum(parts.values()) == 100
    assert parts == {
        "products": 100 - 490 + 750 - 100, "shipping": 490, "tax": 0, "discount": -750, "fee": 100, "tip": 0,
    }  # fmt: skip


# An adjustment without its sign: the kind, the amount, the line, whether it is included.
_DRAWN = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 10**6), st.none() | st.integers(1, 4), st.booleans()
)
_LINES = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 10**5)), min_size=1, max_size=4)


def adjusted(lines: list[dict[str, Any]], drawn: Any) -> list[dict[str, Any]]:
    """The drawn adjustments, as an order of these lines may have them."""
    made = []
    for kind, amount, number, included in drawn:
        one: dict[str, Any] = {"kind": kind, "amount": -amount if kind == "discount" else amount}
        one |= {"line": number} if number and number <= len(lines) else {}
        one |= {"included": True} if included and kind == "tax" else {}
        made.append(one)
    while too_much := below_zero(lines, made):
        made = [one for place, one in enumerate(made) if place not in too_much]
    return made


def series(lines: list[dict[str, Any]], random: Random) -> Iterator[list[Pieces]]:
    """Refunds of random pieces, until all pieces are back."""
    before = [0] * len(lines)
    while any(pieces < one["quantity"] for pieces, one in zip(before, lines, strict=True)):
        refund = []
        for place, one in enumerate(lines):
            if quantity := random.randint(0, one["quantity"] - before[place]):
                refund.append(Pieces(place + 1, quantity, before[place]))
                before[place] += quantity
        if refund:
            yield refund


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(_LINES, st.lists(_DRAWN, max_size=5), st.integers(0), st.sampled_from(["JPY", "USD", "KWD"]))
def test_any_series_of_refunds_adds_up_to_the_captured_amount(
    drawn: list[tuple[int, int]], more: Any, seed: int, currency: str
) -> None:
    """Each kind for itself, too. Each refund is less than one minor unit per line off its exact share."""
    lines, random = [line(*one) for one in drawn], Random(seed)
    adjustments = adjusted(lines, more)
    captured, costs = total(lines, adjustments), Costs(lines, adjustments)
    assert captured is not None
    refunds = [(costs.breakdown(pieces, shipping=False), pieces) for pieces in series(lines, random)]
    for parts, pieces in refunds:
        exact = sum(
            Fraction(costs.share(some.line) * some.quantity, drawn[some.line - 1][0]) for some in pieces
        )
        assert abs(sum(parts.values()) - exact) < len(pieces)
    returned = [*(parts for parts, _ in refunds), costs.breakdown([], shipping=True)]
    tips = sum(one["amount"] for one in adjustments if one["kind"] == "tip" and "line" not in one)
    shown = [Decimal(to_text(sum(parts.values()), currency)) for parts in returned]
    assert all(amount >= 0 for amount in shown)
    assert sum(shown) == Decimal(to_text(captured - tips, currency))
    paid = {"products": total(lines, []), **dict.fromkeys(KINDS, 0), "tip": -tips}
    for one in adjustments:
        paid[one["kind"]] += 0 if one.get("included") else one["amount"]
    assert {kind: sum(parts[kind] for parts in returned) for kind in paid} == paid
