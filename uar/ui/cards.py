"""The four headline numbers, each with its rule and its change against the period before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd
import streamlit as st

from uar.report.breakdown import active_people
from uar.report.days import calendar
from uar.report.periods import Period, previous_period
from uar.report.streaks import Kpis, WorkingDays, kpis
from uar.ui import periods
from uar.ui.frame import View, drawn
from uar.ui.words import compact, counted, date_range, quiet, short_date

ACTIVE_DAYS_RULE = (
    "Local dates with at least one counted activity, of all days in the period. "
    "Days before recording began, days no longer kept and days to come are not in the second number."
)
LONGEST_STREAK_RULE = "The longest run of consecutive active days in the period. Of two equal runs the earlier is shown."
CURRENT_STREAK_RULE = (
    "The run of active days that ends today. If nothing has happened yet today, the run that ends yesterday, "
    "with the words “today still open”. Otherwise 0."
)
ACTIVE_PEOPLE_RULE = "Different people with at least one counted activity. Apps, bots and the unknown person do not count."
CHANGE_RULE = (
    "The change is against the previous period of the same length and the same weekdays; today, which is not over, is left out of it."
)


@dataclass(frozen=True)
class Card:
    """One headline number. `change` is the difference to the period before, None where there is nothing to compare with."""

    label: str
    value: str
    rule: str
    note: str
    change: int | None
    compared_with: str


def show_cards(view: View, days: pd.DataFrame) -> None:
    """Draw the four cards, two by two on a phone, all equally high; `days` is the calendar of the whole period."""
    with st.grid(4, min_column_width=160):
        # The count of known people is as old as the snapshot.
        question = ("headlines", view.filters, view.recorded_from, view.unknown, view.snapshot.data_at)
        for card in drawn(view, question, lambda: headlines(view, days)):
            show_card(card)


def show_card(card: Card) -> None:
    """Draw one card, as high as its neighbors."""
    with st.container(border=True, height="stretch", gap="xsmall"):
        _metric(card)
        st.markdown(quiet(card.note))


def headlines(view: View, days: pd.DataFrame) -> list[Card]:
    """The four cards. The streaks are always of the whole period; active people also of the picked day."""
    filters = view.filters
    words = periods.comparison_words(filters.period)
    now = view_kpis(days, view, filters.today)
    active, longest, current = _changes(view, days)
    share = f"{now.active_days / now.days:.0%} of the days".replace("%", " %") if now.days else "no day recorded"
    return [
        Card("Active Days", f"{now.active_days:,} of {now.days:,}", ACTIVE_DAYS_RULE, share, active, words),
        Card("Longest Streak", counted(now.longest_streak, "day"), LONGEST_STREAK_RULE, longest_note(now), longest, words),
        Card("Current Streak", counted(now.current_streak, "day"), CURRENT_STREAK_RULE, current_note(now, view), current, words),
        _people_card(view, words),
    ]


def _people_card(view: View, words: str) -> Card:
    filters, mirror = view.filters, view.snapshot.mirror
    people = active_people(mirror, filters.narrowed())
    ranges = compared(view, (filters.day, filters.day) if filters.day else (filters.first, filters.last))
    change = None
    if ranges:
        now, before = (active_people(mirror, filters.of_days(*days)) for days in ranges)
        change = now - before
    note = f"on {short_date(filters.day)}" if filters.day else f"of {counted(_known_people(view), 'person', 'people')} known"
    return Card("Active people", f"{people:,}", ACTIVE_PEOPLE_RULE, note, change, periods.A_WEEK_BEFORE if filters.day else words)


def _known_people(view: View) -> int:
    """Accounts that were ever people here, closed ones included: they may have been active in the period."""
    people = view.snapshot.people
    return int((people["account_id"].notna() & ~people["id"].isin(view.filters.left_out)).sum())


def _changes(view: View, days: pd.DataFrame) -> tuple[int | None, int | None, int | None]:
    """The changes of active days, longest and current streak; the current streak is the one at the end of each period."""
    ranges = compared(view, (view.filters.first, view.filters.last))
    if ranges is None:
        return None, None, None
    (_, yesterday), (first, last) = ranges
    now = view_kpis(days[days["day"] <= pd.Timestamp(yesterday)], view, yesterday)
    before = view_kpis(calendar(view.snapshot.mirror, view.filters.of_days(first, last)), view, last)
    return changes(view, now, before)


def changes(view: View, now: Kpis, before: Kpis) -> tuple[int, int, int | None]:
    """The changes of active days, longest and current streak; of the current streak none once the period has ended, as it is 0 then."""
    is_over = view.filters.last < view.filters.today
    current = None if is_over else now.current_streak - before.current_streak
    return now.active_days - before.active_days, now.longest_streak - before.longest_streak, current


def compared(view: View, days: Period) -> tuple[Period, Period] | None:
    """These days without today, which is not over, and those to compare with; None unless recording covers both."""
    now = days[0], min(days[1], view.filters.today - timedelta(days=1))
    if now[1] < now[0]:
        return None
    before = previous_period(*now)
    return (now, before) if view.recorded_from and view.recorded_from <= before[0] else None


def view_kpis(days: pd.DataFrame, view: View, today: date) -> Kpis:
    """The numbers of these days by the view's rules."""
    working_days = WorkingDays() if view.filters.is_working_days_only else None
    return kpis(days, today=today, recorded_from=view.recorded_from, working_days=working_days, unknown=view.unknown)


def longest_note(now: Kpis) -> str:
    """The dates of the longest streak."""
    return date_range(now.longest_from, now.longest_to) if now.longest_from and now.longest_to else "no active day"


def current_note(now: Kpis, view: View) -> str:
    """What is to be said beside the current streak."""
    if now.today_open:
        return "today still open"
    if view.filters.last < view.filters.today:
        return "the period has ended"
    return "up to today" if now.current_streak else "no run at the moment"


def _metric(card: Card) -> None:
    change = "±0" if card.change == 0 else f"{'+' if (card.change or 0) > 0 else '−'}{compact(abs(card.change or 0))}"
    st.metric(
        card.label,
        card.value,
        delta=None if card.change is None else f"{change} {card.compared_with}",
        delta_color="off",  # a fall is not bad in itself
        delta_arrow="off" if not card.change else "up" if card.change > 0 else "down",
        help=f"{card.rule}\n\n{CHANGE_RULE}",
    )
