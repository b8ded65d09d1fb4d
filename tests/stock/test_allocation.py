"""Allocation: all lines of an order or none, never more than the level, the earliest order first."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.clock import id_at
from app.orders.model import Order, create, quantities
from app.stock.model import allocate, totals

PRODUCTS = ("apple", "bread", "cheese", "dates")
AT = datetime(2024, 10, 4, 10, tzinfo=UTC)

lines = st.lists(st.tuples(st.sampled_from(PRODUCTS), st.integers(1, 5)), min_size=1, max_size=6)
levels = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(0, 12))


def ordered(number: int, *wanted: tuple[str, int]) -> Order:
    """The order with that number in time, of these products and quantities."""
    products = [{"productId": product, "quantity": quantity} for product, quantity in wanted]
    stated = {"userId": "u", "products": products, "totalAmount": 0, "currency": "USD"}
    return create(id_at(AT, number), AT, "u", stated, None)


@given(st.lists(lines, max_size=12), levels, st.booleans(), st.randoms())
def test_every_order_takes_all_its_lines_or_none_and_no_level_falls_below_zero(
    wanted: list[list[tuple[str, int]]], on_hand: dict[str, int], strict: bool, chance: object
) -> None:
    orders = [ordered(number, *of_one) for number, of_one in enumerate(wanted)]
    chance.shuffle(orders)  # type: ignore[attr-defined]
    taken, short, rest = allocate(orders, on_hand, strict=strict)

    assert rest == {
        product: level - totals(taken.values()).get(product, 0) for product, level in on_hand.items()
    }
    assert taken.keys() | short.keys() == {order["id"] for order in orders}
    assert not taken.keys() & short.keys()
    for order in orders:
        if order["id"] in taken:
            needed = quantities(order)
            tracked = {product for product in needed if strict or product in on_hand}
            assert taken[order["id"]] == {product: needed[product] for product in tracked}
    for product, quantity in totals(taken.values()).items():
        assert 0 <= quantity <= on_hand[product]


@given(st.lists(lines, min_size=1, max_size=12), levels, st.booleans())
def test_an_order_that_is_refused_would_not_have_fitted_when_its_turn_came(
    wanted: list[list[tuple[str, int]]], on_hand: dict[str, int], strict: bool
) -> None:
    orders = [ordered(number, *of_one) for number, of_one in enumerate(wanted)]
    taken, short, _ = allocate(orders, on_hand, strict=strict)
    left = dict(on_hand)
    for order in orders:
        for shortage in short.get(order["id"], []):
            product = shortage["productId"]
            assert shortage["available"] == left.get(product, 0) < shortage["requested"]
            assert shortage["requested"] == quantities(order)[product]
        for product, quantity in taken.get(order["id"], {}).items():
            left[product] -= quantity


def test_lines_that_repeat_a_product_are_taken_by_their_sum() -> None:
    order = ordered(1, ("apple", 2), ("bread", 1), ("apple", 3))
    assert allocate([order], {"apple": 5, "bread": 1}, strict=False).taken == {
        order["id"]: {"apple": 5, "bread": 1}
    }
    assert allocate([order], {"apple": 4, "bread": 1}, strict=False).short == {
        order["id"]: [{"productId": "apple", "requested": 5, "available": 4}]
    }


def test_a_shortage_names_every_line_that_is_short() -> None:
    order = ordered(1, ("apple", 2), ("bread", 3), ("cheese", 1))
    assert allocate([order], {"apple": 1, "bread": 0, "cheese": 9}, strict=False).short[order["id"]] == [
        {"productId": "apple", "requested": 2, "available": 1},
        {"productId": "bread", "requested": 3, "available": 0},
    ]


def test_the_earlier_order_is_served_first_whatever_the_order_of_the_batch() -> None:
    early, late = ordered(1, ("apple", 2)), ordered(2, ("apple", 2))
    assert allocate([late, early], {"apple": 3}, strict=False).taken == {early["id"]: {"apple": 2}}


def test_a_large_order_that_does_not_fit_leaves_its_share_to_the_next() -> None:
    large, small = ordered(1, ("apple", 9), ("bread", 1)), ordered(2, ("apple", 1), ("bread", 1))
    allocation = allocate([large, small], {"apple": 5, "bread": 1}, strict=False)
    assert allocation.taken == {small["id"]: {"apple": 1, "bread": 1}}
    assert list(allocation.short) == [large["id"]]


def test_an_untracked_product_never_runs_out_unless_the_policy_is_strict() -> None:
    order = ordered(1, ("unknown", 1_000_000))
    assert allocate([order], {}, strict=False).taken == {order["id"]: {}}
    assert allocate([order], {}, strict=True).short == {
        order["id"]: [{"productId": "unknown", "requested": 1_000_000, "available": 0}]
    }


@given(st.lists(st.dictionaries(st.sampled_from(PRODUCTS), st.integers(-9, 9))))
def test_totals_sum_every_row_and_stand_in_product_order(rows: list[dict[str, int]]) -> None:
    summed = totals(rows)
    assert list(summed) == sorted(summed)
    assert summed == {product: sum(row.get(product, 0) for row in rows) for product in summed}
    assert summed.keys() == {product for row in rows for product in row}
