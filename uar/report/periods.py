"""Ranges of days: the ready-made ones, the default, and what a range is compared with. `today` always comes from outside."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from enum import StrEnum

Period = tuple[date, date]  # first and last day, both included

DAYS_BACK = {"today": 1, "7d": 7, "30d": 30, "90d": 90, "180d": 180}


class Preset(StrEnum):
    """The ready-made ranges in the order in which they are offered; the value is their word in addresses."""

    TODAY = "today"
    DAYS_7 = "7d"
    DAYS_30 = "30d"
    DAYS_90 = "90d"
    DAYS_180 = "180d"
    MONTHS_12 = "12m"
    THIS_MONTH = "this-month"
    LAST_MONTH = "last-month"
    THIS_YEAR = "this-year"
    ALL_TIME = "all"

    @property
    def label(self) -> str:
        """The words on screen."""
        return LABELS[self]


LABELS = {
    Preset.TODAY: "Today",
    Preset.DAYS_7: "7 days",
    Preset.DAYS_30: "30 days",
    Preset.DAYS_90: "90 days",
    Preset.DAYS_180: "180 days",
    Preset.MONTHS_12: "12 months",
    Preset.THIS_MONTH: "This month",
    Preset.LAST_MONTH: "Last month",
    Preset.THIS_YEAR: "This year",
    Preset.ALL_TIME: "All time",
}
DEFAULT_PRESET = Preset.MONTHS_12


def preset_period(preset: Preset, today: date, recorded_from: date | None = None) -> Period:
    """The days of a preset. They end today, but for the last month; "All time" begins on `recorded_from`."""
    if preset in DAYS_BACK:
        return today - timedelta(days=DAYS_BACK[preset] - 1), today
    if preset is Preset.MONTHS_12:
        return last_12_months(today)
    if preset is Preset.LAST_MONTH:
        end = today.replace(day=1) - timedelta(days=1)
        return end.replace(day=1), end
    if preset is Preset.ALL_TIME:
        return min(recorded_from or today, today), today
    return today.replace(day=1, month=1 if preset is Preset.THIS_YEAR else today.month), today


def last_12_months(today: date) -> Period:
    """From the day after the same date a year ago, today included."""
    return a_year_before(today) + timedelta(days=1), today


def previous_period(first: date, last: date) -> Period:
    """The days before, as many and with the same weekdays: shifted back by whole weeks, by as few as leave no overlap."""
    length = (last - first).days + 1
    shift = timedelta(weeks=-(-length // 7))
    return first - shift, last - shift


def a_year_before(day: date) -> date:
    """The same date a year earlier; 29 February becomes the 28th."""
    last_of_month = calendar.monthrange(day.year - 1, day.month)[1]
    return day.replace(year=day.year - 1, day=min(day.day, last_of_month))
