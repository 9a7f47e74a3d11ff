"""Color levels and their legend: properties over any numbers, and plain cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uar.report.levels import levels

numbers = st.lists(st.integers(0, 30) | st.integers(0, 5000), max_size=80).map(lambda values: np.array(values, dtype=np.int64))


@given(numbers)
@settings(max_examples=300, deadline=None)
def test_every_number_stands_in_the_legend_under_its_level(values: np.ndarray) -> None:
    found = levels(values)
    for value, level in zip(values, found.level, strict=True):
        span = found.ranges[level]
        assert span is not None
        assert span[0] <= value and (span[1] is None or value <= span[1])  # noqa: PT018 (one statement about one range)
    assert all((level == 0) == (value == 0) for value, level in zip(values, found.level, strict=True))


@given(numbers)
@settings(max_examples=300, deadline=None)
def test_the_legend_covers_all_numbers_without_overlap(values: np.ndarray) -> None:
    spans = [span for span in levels(values).ranges if span is not None]
    assert spans[0] == (0, 0)
    assert [high + 1 for _, high in spans[:-1]] == [low for low, _ in spans[1:]]
    assert spans[-1][1] is None


@given(numbers)
@settings(max_examples=200, deadline=None)
def test_days_far_above_the_others_are_level_4_and_shift_nothing(values: np.ndarray) -> None:
    active = values[values > 0]
    if len(active) < 8 or len(np.unique(active)) < 4:
        return
    low, high = np.percentile(active, [25, 75])
    is_far = values > high + 1.5 * (high - low)
    found = levels(values)
    assert (found.level[is_far] == 4).all()
    usual = active[active <= high + 1.5 * (high - low)]
    expected = [int((value > np.percentile(usual, [25, 50, 75])).sum()) + 1 for value in active]
    assert found.level[values > 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 2, 4, 5, 9, 10, 500], [0, 1, 2, 2, 3, 3, 4, 4]),  # seven active days
        ([1] * 20 + [2] * 20 + [600] * 20, [1] * 20 + [2] * 20 + [4] * 20),  # three distinct values
        ([1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 2, 2, 3, 3, 4, 4]),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9000], [1, 1, 2, 2, 3, 3, 4, 4, 4]),
        ([], []),
    ],
)
def test_levels_of_plain_cases(values: list[int], expected: list[int]) -> None:
    assert levels(np.array(values, dtype=np.int64)).level.tolist() == expected


def test_a_level_that_no_number_can_have_has_no_range() -> None:
    found = levels(np.array([1] * 30 + [2, 3, 4, 50], dtype=np.int64))
    assert found.ranges == ((0, 0), (1, 1), None, None, (2, None))
    assert found.starts == (1, 2, 2, 2)


def test_the_legend_of_few_days_has_fixed_steps() -> None:
    assert levels(np.array([3, 0])).ranges == ((0, 0), (1, 1), (2, 4), (5, 9), (10, None))
