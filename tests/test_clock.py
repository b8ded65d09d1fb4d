"""Times, ids that sort by them, and how long to wait before trying again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backoff import backoff
from app.clock import id_at, new_id, now, to_text

MILLIS = st.integers(0, 4_000_000_000_000)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(millis: int) -> datetime:
    """That many milliseconds after 1970."""
    return EPOCH + timedelta(milliseconds=millis)


@given(MILLIS, MILLIS)
def test_ids_sort_by_the_moment_they_were_made_at(first: int, second: int) -> None:
    ids = [new_id(moment(first)), new_id(moment(second))]
    if first != second:
        assert (ids[0] < ids[1]) == (first < second)


@given(MILLIS)
def test_every_id_of_a_millisecond_lies_between_its_bound_and_the_next_ones(millis: int) -> None:
    assert id_at(moment(millis)) <= new_id(moment(millis)) < id_at(moment(millis + 1))
    assert id_at(moment(millis), 2**54 - 1) < id_at(moment(millis + 1))


@given(MILLIS)
def test_an_id_is_24_hex_digits_that_begin_with_the_seconds(millis: int) -> None:
    made = new_id(moment(millis))
    assert len(made) == 24
    assert made == made.lower()
    assert int(made[:8], 16) == millis // 1000


def test_ids_of_one_millisecond_are_unique() -> None:
    assert len({new_id(EPOCH) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2024, 10, 4, 10, tzinfo=UTC), "2024-10-04T10:00:00.000Z"),
        (datetime(2024, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), "2024-12-31T23:59:59.999Z"),
        (datetime(2024, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), "2024-01-01T00:00:00.001Z"),
    ],
)
def test_a_moment_reads_as_rfc_3339_in_utc_with_milliseconds(at: datetime, text: str) -> None:
    assert to_text(at) == text


@given(MILLIS)
def test_the_text_of_a_moment_says_the_same_moment(millis: int) -> None:
    assert datetime.fromisoformat(to_text(moment(millis))) == moment(millis)


def test_now_is_aware_in_utc_and_cut_to_the_millisecond() -> None:
    before, present, after = datetime.now(UTC), now(), datetime.now(UTC)
    assert present.utcoffset() == timedelta(0)
    assert present.microsecond % 1000 == 0
    assert before - timedelta(milliseconds=1) < present <= after


@given(st.integers(0, 10_000), st.floats(0.1, 60), st.floats(60, 7200))
def test_a_wait_doubles_with_every_attempt_and_strays_by_half_at_most(
    attempts: int, base: float, longest: float
) -> None:
    middle = min(longest, base * 2 ** min(attempts, 30))
    assert middle * 0.499 <= backoff(attempts, base=base, longest=longest).total_seconds() <= middle * 1.501


def test_waits_are_spread_so_that_common_failures_have_no_common_retry() -> None:
    assert len({backoff(3) for _ in range(50)}) > 40
