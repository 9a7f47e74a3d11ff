"""Ready-made ranges and the period before, by cases and by property."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uar.report.periods import DEFAULT_PRESET, Preset, a_year_before, preset_period, previous_period

TODAY = date(2026, 3, 29)


@pytest.mark.parametrize(
    ("preset", "first", "last"),
    [
        (Preset.TODAY, TODAY, TODAY),
        (Preset.DAYS_7, date(2026, 3, 23), TODAY),
        (Preset.DAYS_30, date(2026, 2, 28), TODAY),
        (Preset.DAYS_90, date(2025, 12, 30), TODAY),
        (Preset.DAYS_180, date(2025, 10, 1), TODAY),
        (Preset.MONTHS_12, date(2025, 3, 30), TODAY),
        (Preset.THIS_MONTH, date(2026, 3, 1), TODAY),
        (Preset.LAST_MONTH, date(2026, 2, 1), date(2026, 2, 28)),
        (Preset.THIS_YEAR, date(2026, 1, 1), TODAY),
        (Preset.ALL_TIME, date(2024, 5, 6), TODAY),
    ],
)
def test_a_preset_covers_its_days(preset: Preset, first: date, last: date) -> None:
    assert preset_period(preset, TODAY, recorded_from=date(2024, 5, 6)) == (first, last)
    assert preset.label


def test_the_default_is_the_last_12_months() -> None:
    assert DEFAULT_PRESET is Preset.MONTHS_12
    assert preset_period(Preset.MONTHS_12, date(2028, 2, 29)) == (date(2027, 3, 1), date(2028, 2, 29))
    assert preset_period(Preset.MONTHS_12, date(2027, 2, 28)) == (date(2026, 3, 1), date(2027, 2, 28))


def test_all_time_without_records_is_today() -> None:
    assert preset_period(Preset.ALL_TIME, TODAY) == (TODAY, TODAY)
    assert preset_period(Preset.ALL_TIME, TODAY, recorded_from=TODAY + timedelta(days=1)) == (TODAY, TODAY)


@given(st.dates(date(2005, 1, 1), date(2100, 1, 1)), st.integers(1, 900))
def test_the_period_before_is_as_long_and_has_the_same_weekdays(first: date, length: int) -> None:
    last = first + timedelta(days=length - 1)
    first_before, last_before = previous_period(first, last)
    assert last_before - first_before == last - first
    assert first_before.weekday() == first.weekday()
    assert last_before < first
    assert first - last_before <= timedelta(days=7)


def test_a_year_ago_takes_the_28th_for_a_leap_day() -> None:
    assert (a_year_before(date(2027, 3, 1)), a_year_before(date(2028, 2, 29))) == (date(2026, 3, 1), date(2027, 2, 28))
