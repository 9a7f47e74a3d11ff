"""The periods a viewer can choose, as words, and the days each means: the ready-made ones, calendar years, and any two dates."""

from __future__ import annotations

from datetime import date

from uar.activity import EARLIEST
from uar.report.periods import DEFAULT_PRESET, Period, Preset, preset_period

CUSTOM = "Custom"
DEFAULT = DEFAULT_PRESET.label
YEARS_BACK = 3
PRESETS = {preset.label: preset for preset in Preset}
A_WEEK_BEFORE = "vs week before"
COMPARISONS = {
    Preset.TODAY: A_WEEK_BEFORE,
    Preset.MONTHS_12: "vs year before",
    Preset.THIS_MONTH: "vs month before",
    Preset.LAST_MONTH: "vs month before",
    Preset.THIS_YEAR: "vs year before",
}


def period_names(today: date, first_day: date | None, asked: str = "") -> list[str]:
    """All periods in the order shown; calendar years back to the first day with data, at least `YEARS_BACK`, and the one asked for."""
    oldest = min(today.year - YEARS_BACK, first_day.year if first_day else today.year)
    if asked.strip().isdecimal() and EARLIEST.year <= int(asked) < today.year:
        oldest = min(oldest, int(asked))
    years = [str(year) for year in range(today.year - 1, oldest - 1, -1)]
    ready_made = [label for label, preset in PRESETS.items() if preset is not Preset.ALL_TIME]
    return [*ready_made, *years, Preset.ALL_TIME.label, CUSTOM]


def period_name_of(word: str) -> str:
    """The name of a preset's word in addresses (`30d`), else the text itself."""
    try:
        return Preset(word.strip().lower()).label
    except ValueError:
        return word


def days_of(period: str, today: date, first_day: date | None, custom: Period | None) -> Period:
    """First and last day of a period, both included. A custom period without two dates means the default."""
    if period.isdecimal():
        return date(int(period), 1, 1), date(int(period), 12, 31)
    if period == CUSTOM and custom:
        return custom[0], max(custom[0], min(custom[1], today))
    return preset_period(PRESETS.get(period, DEFAULT_PRESET), today, first_day)


def comparison_words(period: str) -> str:
    """What a change is measured against, short enough for a card on a phone."""
    preset = PRESETS.get(period)
    if preset in COMPARISONS:
        return COMPARISONS[preset]
    return "vs year before" if period.isdecimal() else "vs prior period"
