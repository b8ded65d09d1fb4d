"""Money: exact in both directions, in every currency there is, and never more decimals than that has."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.money import DECIMALS, to_minor, to_text
from app.orders.fields import with_amounts

MOST_MINOR = 10**13


@pytest.mark.parametrize("currency", sorted(DECIMALS))
def test_the_smallest_and_the_largest_amount_of_every_currency_come_back_exact(currency: str) -> None:
    for minor in (0, 1, 10 ** DECIMALS[currency], MOST_MINOR - 1, MOST_MINOR):
        assert to_minor(Decimal(to_text(minor, currency)), currency) == minor


@given(st.sampled_from(sorted(DECIMALS)), st.integers(0, MOST_MINOR))
def test_any_amount_comes_back_exact_and_shows_all_decimals_of_its_currency(
    currency: str, minor: int
) -> None:
    text = to_text(minor, currency)
    assert to_minor(Decimal(text), currency) == minor
    assert -int(Decimal(text).as_tuple().exponent) == DECIMALS[currency]


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (20000, "USD", "200.00"),
        (5, "USD", "0.05"),
        (0, "EUR", "0.00"),
        (500, "JPY", "500"),
        (1234567, "KWD", "1234.567"),
        (7, "BHD", "0.007"),
    ],
)
def test_an_amount_reads_as_its_currency_writes_it(minor: int, currency: str, text: str) -> None:
    assert to_text(minor, currency) == text


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [("200", "USD", 20000), ("1E+2", "USD", 10000), ("0.10000", "USD", 10), ("3.0", "JPY", 3)],
)
def test_trailing_zeros_and_exponents_are_no_decimals(amount: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(amount), currency) == minor


@pytest.mark.parametrize("currency", sorted(DECIMALS))
def test_one_decimal_too_many_is_refused_in_every_currency(currency: str) -> None:
    tenth_of_a_minor_unit = Decimal(1).scaleb(-DECIMALS[currency] - 1)
    with pytest.raises(ValueError, match=f"must have at most {DECIMALS[currency]} decimals in {currency}"):
        to_minor(1 + tenth_of_a_minor_unit, currency)


def test_a_decimal_beyond_the_precision_of_the_arithmetic_is_refused_too() -> None:
    with pytest.raises(ValueError, match="must have at most"):
        to_minor(Decimal("10.0000000000000000000000000000000001"), "USD")


def test_amounts_that_a_binary_float_would_get_wrong_are_exact() -> None:
    assert to_minor(Decimal("1.10"), "USD") + to_minor(Decimal("2.20"), "USD") == 330
    assert to_minor(Decimal("0.29"), "USD") == 29


def test_amounts_are_found_however_deep_and_nothing_else_is_touched() -> None:
    value = {"quantity": 3, "amount": 1, "lines": [{"unitPrice": 2, "on": {"totalAmount": 3}}, 4, "amount"]}
    assert with_amounts(value, str) == {
        "quantity": 3,
        "amount": "1",
        "lines": [{"unitPrice": "2", "on": {"totalAmount": "3"}}, 4, "amount"],
    }
