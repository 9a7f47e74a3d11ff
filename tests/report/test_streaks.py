"""The KPIs as a table of cases, and against a walk from day to day."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.recount import naive_current, naive_longest
from uar.report.streaks import Kpis, WorkingDays, kpis, person_streaks, skipped_days
from uar.report.zones import day_number

WEEKENDS = WorkingDays()


def days(first: date, pattern: str) -> pd.DataFrame:
    """A calendar from `first` on: `x` is an active day, `.` a quiet one."""
    first_day = np.datetime64(first, "D")
    return pd.DataFrame(
        {
            "day": np.arange(first_day, first_day + len(pattern)).astype("datetime64[s]"),
            "events": np.array([int(mark == "x") for mark in pattern], dtype=np.int64),
        }
    )


MONDAY = date(2026, 3, 2)


@pytest.mark.parametrize(
    ("pattern", "today", "longest", "current", "is_open"),
    [
        ("xxx", 2, 3, 3, False),
        ("xx.", 2, 2, 2, True),  # today is still open
        ("x..", 2, 1, 0, False),
        ("..x", 2, 1, 1, False),
        ("x.x", 2, 1, 1, False),
        ("...", 2, 0, 0, False),
        ("xxx", 3, 3, 3, True),  # the range ends yesterday
        ("xxx", 4, 3, 0, False),  # the range ends before yesterday
        ("xxxxx", 1, 2, 2, False),  # the range goes on after today
        ("xxx", -1, 0, 0, False),  # the range begins tomorrow
        ("xx.xx.", 5, 2, 2, True),
    ],
)
def test_streaks_follow_their_definition(pattern: str, today: int, longest: int, current: int, is_open: bool) -> None:
    found = kpis(days(MONDAY, pattern), today=MONDAY + timedelta(days=today))
    assert (found.longest_streak, found.current_streak, found.today_open) == (longest, current, is_open)


def test_the_earlier_of_two_equal_runs_is_the_longest() -> None:
    found = kpis(days(MONDAY, ".xx.xx."), today=date(2026, 4, 1))
    assert (found.longest_from, found.longest_to) == (date(2026, 3, 3), date(2026, 3, 4))


@pytest.mark.parametrize(
    ("recorded_from", "today", "expected"),
    [
        (None, date(2026, 3, 11), (2, 10)),
        (date(2026, 1, 1), date(2026, 3, 11), (2, 10)),
        (date(2026, 3, 3), date(2026, 3, 11), (1, 9)),
        (date(2026, 3, 5), date(2026, 3, 8), (0, 4)),
        (date(2026, 4, 1), date(2026, 3, 11), (0, 0)),
        (None, date(2026, 3, 2), (1, 1)),
        (None, date(2026, 2, 1), (0, 0)),
    ],
)
def test_only_days_that_could_have_been_active_count(recorded_from: date | None, today: date, expected: tuple[int, int]) -> None:
    found = kpis(days(MONDAY, "x.x......."), today=today, recorded_from=recorded_from)
    assert (found.active_days, found.days) == expected


@pytest.mark.parametrize(
    ("pattern", "today", "longest", "current", "is_open"),
    [
        ("xxxxx..xx", 8, 7, 7, False),  # a quiet weekend is bridged and not counted
        ("xxxxxx.xx", 8, 8, 8, False),  # an active Saturday counts
        ("xxxxx..", 6, 5, 5, False),  # Sunday, quiet: look back across the weekend; nothing is open
        ("xxxxx...", 7, 5, 5, True),  # Monday, quiet so far
        ("xxxx...", 6, 4, 0, False),  # Friday was missed
        ("xxxx....", 7, 4, 0, False),
        ("xxxxx", 7, 5, 5, True),  # the range ended on Friday, the weekend after it is off
        (".....xx", 6, 2, 2, False),
    ],
)
def test_days_off_neither_break_nor_lengthen(pattern: str, today: int, longest: int, current: int, is_open: bool) -> None:
    found = kpis(days(MONDAY, pattern), today=MONDAY + timedelta(days=today), working_days=WEEKENDS)
    assert (found.longest_streak, found.current_streak, found.today_open) == (longest, current, is_open)


def test_holidays_and_other_weekends_are_off_too() -> None:
    friday_off = WorkingDays(weekend=frozenset({4}), holidays=frozenset({date(2026, 3, 4)}))
    found = kpis(days(MONDAY, "xx.x.xx"), today=date(2026, 3, 8), working_days=friday_off)
    assert (found.longest_streak, found.longest_from, found.longest_to) == (5, date(2026, 3, 2), date(2026, 3, 8))


def test_a_day_with_a_recording_gap_is_bridged_and_marked() -> None:
    gaps = frozenset({date(2026, 3, 4), date(2026, 3, 5), date(2026, 5, 1)})
    found = kpis(days(MONDAY, "xx.xx"), today=date(2026, 3, 6), unknown=gaps)
    assert (found.longest_streak, found.current_streak, found.unknown_days) == (4, 4, 1)  # the 5th had activity, so it is known


def test_a_streak_runs_over_a_leap_day_and_the_end_of_a_year() -> None:
    found = kpis(days(date(2023, 12, 30), "x" * 64), today=date(2024, 3, 2))
    assert (found.longest_streak, found.longest_to, found.current_streak) == (64, date(2024, 3, 2), 64)


def test_numbers_for_scripts_are_plain() -> None:
    found = kpis(days(MONDAY, "xx."), today=date(2026, 3, 4))
    assert found.as_json() == {
        "active_days": 2,
        "days": 3,
        "longest_streak": 2,
        "longest_from": "2026-03-02",
        "longest_to": "2026-03-03",
        "current_streak": 2,
        "today_open": True,
    }
    assert kpis(days(MONDAY, "."), today=MONDAY).as_json()["longest_from"] is None


def test_a_calendar_without_days_has_no_streaks() -> None:
    assert kpis(days(MONDAY, ""), today=MONDAY) == Kpis(0, 0, 0, None, None, 0, today_open=False)


@st.composite
def cases(draw: st.DrawFn) -> tuple[date, list[str], date, WorkingDays | None, frozenset[date]]:
    first = draw(st.dates(date(2023, 11, 1), date(2026, 12, 1)))
    patterns = draw(st.lists(st.text("xxx.", min_size=1, max_size=40), min_size=1, max_size=4))
    patterns = [pattern.ljust(max(map(len, patterns)), ".") for pattern in patterns]
    near = st.integers(-3, 45).map(lambda days_on: first + timedelta(days=days_on))
    some_days = st.frozensets(near, max_size=5)
    weekend = st.frozensets(st.integers(0, 6), max_size=3)
    off = draw(st.none() | st.builds(WorkingDays, weekend=weekend, holidays=some_days))
    return first, patterns, draw(near), off, draw(st.just(frozenset()) | some_days)


@given(cases())
@settings(max_examples=300, deadline=None)
def test_streaks_equal_a_walk_from_day_to_day(case: tuple[date, list[str], date, WorkingDays | None, frozenset[date]]) -> None:
    first, patterns, today, off, unknown = case
    last = first + timedelta(days=len(patterns[0]) - 1)
    around = [first + timedelta(days=place) for place in range(-10, 100)]
    is_skipped = {day for day in around if day in unknown or (off and (day.weekday() in off.weekend or day in off.holidays))}
    for pattern in patterns:
        marked = {first + timedelta(days=place) for place, mark in enumerate(pattern) if mark == "x"}
        active = {day for day in marked if day <= today}
        found = kpis(days(first, pattern), today=today, working_days=off, unknown=unknown)
        assert (found.current_streak, found.today_open) == naive_current(active, today, is_skipped, first)
        assert (found.longest_streak, found.longest_from, found.longest_to) == naive_longest(active, first, last, is_skipped)
        assert found.active_days == len(active)


@given(cases())
@settings(max_examples=150, deadline=None)
def test_everybodys_streaks_equal_those_of_each_alone(case: tuple[date, list[str], date, WorkingDays | None, frozenset[date]]) -> None:
    first, patterns, today, off, unknown = case
    active = np.array([[mark == "x" for mark in pattern] for pattern in patterns]).T
    length = max(len(active), (today - first).days + 1)
    found = person_streaks(active, first=first, today=today, skipped=skipped_days(day_number(first), length, off, unknown))
    alone = [kpis(days(first, pattern), today=today, working_days=off, unknown=unknown) for pattern in patterns]
    assert found.active_days.tolist() == [one.active_days for one in alone]
    assert found.longest.tolist() == [one.longest_streak for one in alone]
    assert found.current.tolist() == [one.current_streak for one in alone]


@pytest.mark.parametrize("days", [126, 127, 128, 129, 255, 256, 365, 32_768])
def test_a_person_who_was_active_every_day_has_as_many_days(days: int) -> None:
    today = date(2026, 10, 6)
    found = person_streaks(np.ones((days, 1), dtype=bool), first=today - timedelta(days=days - 1), today=today)
    assert (found.active_days[0], found.longest[0], found.current[0]) == (days, days, days)


def test_days_after_today_and_before_recording_are_nowhere() -> None:
    first, today = date(2026, 10, 1), date(2026, 10, 6)
    days = pd.DataFrame({"day": pd.date_range(first, periods=10), "events": 1})
    found = kpis(days, today=today, recorded_from=date(2026, 10, 3))
    assert (found.active_days, found.days, found.longest_streak, found.current_streak) == (4, 4, 4, 4)
    person = person_streaks(np.ones((10, 1), dtype=bool), first=first, today=today)
    assert (person.active_days[0], person.longest[0], person.current[0]) == (6, 6, 6)
