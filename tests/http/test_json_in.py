"""JSON as it is read: exact, strict, and never an error of ours."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.fields import is_finer
from app.http.json_body import _SYNTAX, MAX_DEPTH, digest, parse
from app.http.problems import Problem

WHOLE = st.integers(-(2**53), 2**53)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def refusal(text: str) -> str:
    """Why the text is refused; empty if it is not."""
    try:
        parse(text.encode())
    except Problem as refused:
        return str(refused)
    return ""


@given(VALUES)
def test_any_json_is_read_exactly(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary())
def test_any_other_bytes_are_refused_and_nothing_else_goes_wrong(raw: bytes) -> None:
    with suppress(Problem):
        parse(raw)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ('{"a":\n  nil}', (2, 3), "A value is missing here."),
        ("{a: 1}", (1, 2), "A name in double quotes is missing here."),
        ('{"a" 1}', (1, 6), "A colon is missing here."),
        ("[1 2]", (1, 4), "A comma or a closing bracket is missing here."),
        ("{} {}", (1, 4), "Nothing may follow the first value."),
        ('{"a": "b}', (1, 7), "The text that begins here has no closing quotation mark."),
        ('{"a": "b\n"}', (1, 9), "A control character in a text must be escaped."),
        ('["\\x"]', (1, 3), "JSON has no such escape."),
        ('["\\u12"]', (1, 4), "JSON has no such escape."),
        ('{"a": 1', (1, 8), "It ends too early."),
        ("[1,", (1, 4), "It ends too early."),
    ],
)
def test_a_syntax_error_is_named_with_its_place(text: str, place: tuple[int, int], reason: str) -> None:
    line, column = place
    assert refusal(text) == f"The body is not valid JSON at line {line}, column {column}. {reason}"


@given(st.text(alphabet='{}[]":,0123456789.eE+-tfnNI \\u"', max_size=60))
def test_every_syntax_error_is_one_of_the_table(text: str) -> None:
    refused = refusal(text)
    if refused.startswith("The body is not valid JSON at"):
        assert refused.endswith(("It ends too early.", *_SYNTAX.values()))


@given(st.text(alphabet='{}[]":,0123456789.eE+-tfnNI \\u"', max_size=60))
def test_almost_valid_json_is_read_or_refused(text: str) -> None:
    with suppress(Problem):
        parse(text.encode())


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_fraction_is_read_exactly(number: Decimal) -> None:
    text = f"{number:f}"
    assert Decimal(parse(text.encode())) == Decimal(text)


@given(st.decimals(-(10**12), 10**12, places=6), st.integers(0, 6))
def test_a_number_is_finer_if_rounding_changes_it(number: Decimal, decimals: int) -> None:
    assert is_finer(number, decimals) == (round(number, decimals) != number)


@pytest.mark.parametrize("text", ["0.0000", "200.00", "2E+2", "1.230", "-0"])
def test_zeros_at_the_end_make_no_number_finer(text: str) -> None:
    assert not is_finer(Decimal(text), 2)


@pytest.mark.parametrize("text", ["0.001", "1E-400", "1E-1000100", "1.0000000000000000000000000000000001"])
def test_no_digit_is_too_far_out_to_count(text: str) -> None:
    assert is_finer(Decimal(text), 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a": 200, "b": "x"}', b'{"b":"x","a":2.00e2}'),
        (b'{"a": [0.10, 0]}', b'{"a": [1e-1, -0.0]}'),
        (b'{"a": "\\u0041"}', b'{"a": "A"}'),
    ],
)
def test_one_value_has_one_digest_however_it_is_spelled(one: bytes, other: bytes) -> None:
    assert digest(parse(one)) == digest(parse(other))


@pytest.mark.parametrize(
    ("one", "other"), [(b'{"a": 1}', b'{"a": 1.01}'), (b'{"a": 1}', b'{"b": 1}'), (b"[1, 2]", b"[2, 1]")]
)
def test_different_values_have_different_digests(one: bytes, other: bytes) -> None:
    assert digest(parse(one)) != digest(parse(other))


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_a_body_nested_too_deeply_is_refused(opened: bytes, closed: bytes) -> None:
    levels = MAX_DEPTH // (opened.count(b"[") + opened.count(b"{"))
    parse(opened * levels + b"1" + closed * levels)
    for more in (levels + 1, 1000, 40_000):
        with pytest.raises(Problem, match="at most 32 levels of nesting"):
            parse(opened * more + b"1" + closed * more)


def test_brackets_in_texts_and_side_by_side_are_no_depth() -> None:
    assert parse(b'"' + b"[{" * 100 + b'"') == "[{" * 100
    assert parse(b"[" + b"[]," * 200 + b"[]]") == [[]] * 201
