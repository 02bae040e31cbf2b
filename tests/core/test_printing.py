"""Which of the lines that a function prints are within its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.core.printing import Allowance, LogLimits


def allowance(lines_per_s: int, burst_lines: int) -> Allowance:
    return Allowance(LogLimits(lines_per_s, burst_lines))


def admitted(lines: Allowance, count: int, now: float) -> int:
    return sum(lines.take(now) for _ in range(count))


@pytest.mark.parametrize(("lines_per_s", "burst"), [(1, 1), (3, 7), (10_000, 50_000), (100_000, 100_000)])
def test_a_burst_and_what_comes_back_of_it(lines_per_s: int, burst: int) -> None:
    lines = allowance(lines_per_s, burst)
    assert admitted(lines, burst + 10, 1_000.0) == burst
    # As much as one second allows, but never more than a burst.
    assert admitted(lines, burst + lines_per_s + 10, 1_001.0) == min(lines_per_s, burst)
    assert admitted(lines, burst + 10, 9_999_999.0) == burst


@given(burst=st.integers(1, 50), counts=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 100)), max_size=10))
def test_many_at_once_are_as_many_one_by_one(burst: int, counts: list[tuple[float, int]]) -> None:
    at_once, one_by_one, now = allowance(7, burst), allowance(7, burst), 1_000.0
    for passed_s, count in counts:
        now += passed_s
        assert at_once.take(now, count) == admitted(one_by_one, count, now)


def test_an_even_stream_within_the_rate_is_never_cut() -> None:
    lines = allowance(1_024, 1)
    assert all(lines.take(5.0 + number / 1_024) for number in range(10_000))


def test_without_a_limit_everything_is_admitted() -> None:
    assert admitted(allowance(0, 1), 100_000, 1.0) == 100_000


def test_other_limits_count_from_then_on() -> None:
    lines = allowance(1, 5)
    assert admitted(lines, 10, 1.0) == 5
    lines.use(LogLimits(0, 1))
    assert admitted(lines, 10, 1.0) == 10
    lines.use(LogLimits(1, 5))
    assert admitted(lines, 10, 100.0) == 5


@given(
    rate=st.integers(1, 1000),
    burst=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 300)), max_size=30),
)
def test_never_more_than_the_burst_and_the_rate(rate: int, burst: int, steps: list[tuple[float, int]]) -> None:
    lines, now, total = allowance(rate, burst), 1_000.0, 0
    for passed_s, count in steps:
        now += passed_s
        total += admitted(lines, count, now)
        assert total <= burst + rate * (now - 1_000.0) + 1
