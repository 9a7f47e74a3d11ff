"""Gaps in recording come from the runs of workers, and each makes the local days it touches unknown."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uar.report.coverage import SHORTEST_GAP_MS, Gap, gaps, unknown_days
from uar.report.streaks import kpis

MINUTE = 60_000
HOUR = 60 * MINUTE


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def runs(*pairs: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame({"started_at": [start for start, _ in pairs], "ended_at": [end for _, end in pairs]}, dtype="int64")


def test_a_worker_that_never_stopped_leaves_no_gap() -> None:
    assert gaps(runs((0, 10 * HOUR)), 10 * HOUR + 30_000) == ()


def test_nothing_recorded_yet_is_no_gap() -> None:
    assert gaps(runs(), 10 * HOUR) == ()


def test_a_restart_within_a_quarter_of_an_hour_is_no_gap() -> None:
    pause = SHORTEST_GAP_MS
    assert gaps(runs((0, HOUR), (HOUR + pause - 1, 5 * HOUR)), 5 * HOUR) == ()
    assert gaps(runs((0, HOUR), (HOUR + pause, 5 * HOUR)), 5 * HOUR) == (Gap(HOUR, HOUR + pause),)


def test_a_worker_that_is_down_now_leaves_a_gap_up_to_now() -> None:
    assert gaps(runs((0, HOUR)), 3 * HOUR) == (Gap(HOUR, 3 * HOUR),)


def test_another_worker_that_was_up_meanwhile_closes_the_gap() -> None:
    assert gaps(runs((5 * HOUR, 9 * HOUR), (0, HOUR), (0, 8 * HOUR)), 9 * HOUR) == ()


def test_what_a_clock_that_was_ahead_noted_hides_no_gap() -> None:
    ahead = (30 * HOUR, 31 * HOUR)
    assert gaps(runs((0, HOUR), ahead), 10 * HOUR) == (Gap(HOUR, 10 * HOUR),)
    assert gaps(runs((0, HOUR), ahead, (2 * HOUR, 40 * HOUR)), 10 * HOUR) == (Gap(HOUR, 2 * HOUR),)


def test_a_long_run_reaches_over_short_ones_inside_it() -> None:
    assert gaps(runs((0, 8 * HOUR), (HOUR, 2 * HOUR), (9 * HOUR, 10 * HOUR)), 10 * HOUR) == (Gap(8 * HOUR, 9 * HOUR),)


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", {date(2026, 3, 28), date(2026, 3, 29)}),
        ("Asia/Kathmandu", {date(2026, 3, 29)}),
        ("America/New_York", {date(2026, 3, 28)}),
    ],
)
def test_a_gap_makes_the_days_of_the_viewers_zone_unknown(zone: str, days: set[date]) -> None:
    found = (Gap(at("2026-03-28T18:30"), at("2026-03-29T02:00")),)
    assert unknown_days(found, zone) == days


def test_a_gap_that_ends_at_midnight_does_not_touch_the_next_day() -> None:
    assert unknown_days((Gap(at("2026-03-28T12:00"), at("2026-03-29T00:00")),), "UTC") == {date(2026, 3, 28)}


def test_a_gap_of_weeks_makes_every_day_between_unknown() -> None:
    found = unknown_days((Gap(at("2026-01-01T12:00"), at("2026-01-20T12:00")),), "Europe/Berlin")
    assert found == {date(2026, 1, day) for day in range(1, 21)}


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=8),
    st.integers(200, 300),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]),
)
def test_days_equal_a_recount_hour_by_hour(drawn: list[tuple[int, int]], now: int, zone: str) -> None:
    start = at("2026-03-20T00:00")
    spans = [(start + first * HOUR, start + (first + length) * HOUR) for first, length in drawn]
    expected = set()
    if spans:
        for minute in range(min(first for first, _ in spans), start + now * HOUR, 30 * MINUTE):
            if not any(first <= minute < last for first, last in spans):
                expected.add(datetime.fromtimestamp(minute / 1000, ZoneInfo(zone)).date())
    assert unknown_days(gaps(runs(*spans), start + now * HOUR), zone) == expected


def test_a_gap_bridges_a_streak_without_lengthening_it() -> None:
    days = [date(2026, 5, 1) + timedelta(days=number) for number in range(7)]
    calendar = pd.DataFrame({"day": pd.to_datetime(days), "events": [1, 1, 0, 0, 1, 1, 1]})
    found = gaps(
        runs((at("2026-04-01T00:00"), at("2026-05-02T23:00")), (at("2026-05-04T22:00"), at("2026-05-08T00:00"))), at("2026-05-08T00:00")
    )
    with_gap = kpis(calendar, today=date(2026, 5, 7), unknown=unknown_days(found, "UTC"))
    without = kpis(calendar, today=date(2026, 5, 7))
    assert (with_gap.longest_streak, with_gap.current_streak, with_gap.unknown_days) == (5, 5, 2)
    assert (without.longest_streak, without.current_streak, without.unknown_days) == (3, 3, 0)
