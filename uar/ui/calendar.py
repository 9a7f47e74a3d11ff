"""The calendar card: heatmap or table, the switch for what color means, legend, and one sentence about it.

The picked day lives in the address (`day`), so that Back lifts it. A click on the heatmap or a row of the table picks a day, a second
one lifts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from html import escape

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from uar.activity import ActivityType
from uar.report.levels import Levels, levels
from uar.ui.calendar_figure import CELL_MARGIN_PX, CalendarLook, calendar_figure, figure_units, is_hatched
from uar.ui.figures import NO_BAR, Figure
from uar.ui.filters import BOUND, Filters
from uar.ui.frame import View, drawn
from uar.ui.theme import Palette
from uar.ui.words import MEASURES, counted, long_date, quiet, short_date

FULL_WIDTH_FROM_WEEKS = 40  # shorter ranges keep their cells at `CELL_PX` instead of blowing them up
CELL_PX = 22
BIG_UP_TO_WEEKS = 14
BIG_CELL_PX = 30
SCROLLED_PX = 820


@dataclass(frozen=True)
class Drawing:
    """All that the card shows of the numbers: the figure, how many cells wide and high it is, the sentence and the legend below it."""

    figure: Figure
    weeks: int
    rows: int
    sentence: str
    legend: str


def show_calendar(view: View, days: pd.DataFrame) -> None:
    """Draw the card; `days` as from `uar.report.days.calendar` for the whole period."""
    filters = view.filters
    with st.container(border=True):
        measure, is_table = _head()
        place = (filters.today, filters.day, filters.week_start, view.recorded_from, view.unknown, view.colors)
        question = ("calendar", measure, filters.of_period(), *place)
        drawing = drawn(view, question, lambda: _drawing(view, days, measure))
        is_short = drawing.weeks < FULL_WIDTH_FROM_WEEKS and not is_table
        with st.container(horizontal=is_short, gap="small", vertical_alignment="center"):
            if is_table:
                _table(days, filters)
            else:
                _heatmap(drawing)
            _words(drawing.sentence, drawing.legend, is_short)


def _drawing(view: View, days: pd.DataFrame, measure: str) -> Drawing:
    filters, colors = view.filters, view.colors
    of_color = levels(days.loc[days["day"] <= pd.Timestamp(filters.today), measure].to_numpy())
    look = CalendarLook(measure, of_color.starts, filters.today, view.recorded_from, filters.day, filters.week_start, view.unknown)
    return Drawing(
        calendar_figure(days, look, colors),
        *figure_units(days, filters.week_start),
        summary(days, measure, filters.today, view.unknown),
        legend(of_color, measure, colors, bool(is_hatched(days, look).any())),
    )


def _head() -> tuple[str, bool]:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.header("Activity calendar", width="content", anchor=False)
        with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", width="content"):
            is_table = st.toggle("Show as table", key="table", bind=BOUND)
            chosen = st.segmented_control(
                "Color shows", MEASURES, default="Events", required=True, key="color", bind=BOUND, label_visibility="collapsed"
            )
    return chosen.lower(), is_table


def _heatmap(drawing: Drawing) -> None:
    weeks, rows = drawing.weeks, drawing.rows
    is_full = weeks >= FULL_WIDTH_FROM_WEEKS
    cell = BIG_CELL_PX if weeks <= BIG_UP_TO_WEEKS else CELL_PX
    st.html(_shape_rule(weeks, rows))
    box = _scroller() if is_full else st.container(width="content")
    box.plotly_chart(
        drawing.figure,
        theme=None,
        width="stretch" if is_full else weeks * cell + CELL_MARGIN_PX,
        height="stretch" if is_full else rows * cell + 2,
        key="calendar" if is_full else "calendar_short",
        on_select=_clicked,
        selection_mode="points",
        config=NO_BAR,
        alt="Calendar of activity per day. “Show as table” above has the same numbers as text.",
    )


def _words(sentence: str, swatches: str, is_beside: bool) -> None:
    """The sentence and the legend: in one row below the calendar, or one under the other beside a short one."""
    with st.container(horizontal=not is_beside, horizontal_alignment="left" if is_beside else "distribute", vertical_alignment="center"):
        st.markdown(quiet(sentence), width="stretch" if is_beside else "content")
        st.html(swatches, width="stretch" if is_beside else "content")


def _scroller() -> DeltaGenerator:
    """A box that scrolls sideways on a narrow screen. No part of a chart takes the focus, but an empty element, for the arrow keys."""
    box = st.grid(1, min_column_width=SCROLLED_PX, wrap=False, gap=None, key="calendar_scroll")
    box.html('<div tabindex="0" role="group" aria-label="Calendar, scrolls sideways"></div>')
    return box


def _shape_rule(weeks: int, rows: int) -> str:
    """The style sheet of the calendar: square cells at every width, and on a narrow screen the scrolling starts at today."""
    return (
        "<style>.st-key-calendar_scroll{direction:rtl;padding-top:0}.st-key-calendar_scroll>*{direction:ltr}"
        f".st-key-calendar{{aspect-ratio:{weeks + 1.6:.1f}/{rows}}}</style>"
    )


def _clicked() -> None:
    key = "calendar" if "calendar" in st.session_state else "calendar_short"
    points = st.session_state[key].selection.points
    pick(points[0]["customdata"] if points else None)


def pick(day: object) -> None:
    """Pick this ISO date, or lift it if it is the picked one or None."""
    if day is None or st.query_params.get("day") == str(day):
        st.query_params.pop("day", None)
    else:
        st.query_params["day"] = str(day)


def _table(days: pd.DataFrame, filters: Filters) -> None:
    shown = day_table(days, filters.today)
    st.dataframe(
        shown,
        hide_index=True,
        height=320,
        key="day_table",
        on_select=lambda: _row_chosen(shown),
        selection_mode="single-row",
        column_config={"Date": st.column_config.DateColumn(format="YYYY-MM-DD", pinned=True)}
        | {column: st.column_config.NumberColumn(format="localized") for column in shown.columns[2:]},
        alt="Events and people per day, newest first",
    )


def _row_chosen(shown: pd.DataFrame) -> None:
    rows = st.session_state["day_table"].selection.rows
    pick(shown["Date"].iloc[rows[0]].isoformat() if rows else None)


def day_table(days: pd.DataFrame, today: date) -> pd.DataFrame:
    """The days up to today, newest first. Columns: Date (date), Weekday (str), Events, People, then the ten types (int64)."""
    past = days[days["day"] <= pd.Timestamp(today)].iloc[::-1]
    columns = {"Date": past["day"].dt.date, "Weekday": past["day"].dt.day_name(), "Events": past["events"], "People": past["people"]}
    return pd.DataFrame(columns | {kind.label: past[kind.key] for kind in ActivityType}).reset_index(drop=True)


def summary(days: pd.DataFrame, measure: str, today: date, unknown: frozenset[date] = frozenset()) -> str:
    """`Busiest day: Wednesday, 15 April 2026, 4,100 events. Quietest working week: from 21 Dec 2025, 310 events.`

    Weeks are whole ones, Monday to Friday, before today and without an unknown day; without two of them there is no quietest.
    """
    past = days[days["day"] <= pd.Timestamp(today)]
    if past.empty or not past[measure].max():
        return "No activity in this period."
    busiest = past.iloc[int(past[measure].to_numpy().argmax())]
    noun = ("event", "events") if measure == "events" else ("person", "people")
    sentence = f"Busiest day: {long_date(busiest['day'].date())}, {counted(int(busiest[measure]), *noun)}."
    is_known = ~past["day"].isin([pd.Timestamp(day) for day in unknown])
    return sentence + _quietest_week(past[is_known & (past["day"] < pd.Timestamp(today))], measure, noun)


def _quietest_week(past: pd.DataFrame, measure: str, noun: tuple[str, str]) -> str:
    working = past[past["day"].dt.day_of_week < 5]
    begun = working["day"].to_numpy().astype("datetime64[D]")
    mondays = begun - working["day"].dt.day_of_week.to_numpy().astype("timedelta64[D]")
    weeks = pd.Series(working[measure].to_numpy(), index=mondays).groupby(level=0).agg(["sum", "size"])
    since = past.loc[past["events"] > 0, "day"].min()
    whole = weeks[(weeks["size"] == 5) & (weeks.index >= since)]["sum"]
    if len(whole) < 2:
        return ""
    if measure == "people":  # people of different days cannot be added
        return f" Quietest working week: from {short_date(whole.idxmin().date())}, {whole.min() / 5:,.0f} people a day."
    return f" Quietest working week: from {short_date(whole.idxmin().date())}, {counted(int(whole.min()), *noun)}."


def legend(of_color: Levels, measure: str, colors: Palette, has_hatched: bool) -> str:
    """Five swatches with the numbers each stands for, and a hatched one if there are days without recording."""
    entries = [f"{escape(measure.capitalize())} a day"]
    for color, numbers in zip(colors.levels, of_color.ranges, strict=True):
        if numbers:
            entries.append(_swatch(color, colors) + _range_text(*numbers))
    if has_hatched:
        entries.append(_swatch(stripes(colors), colors) + "not recorded")
    items = "".join(f'<span style="white-space:nowrap;display:inline-flex;align-items:center;gap:2px">{entry}</span>' for entry in entries)
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px 12px;font-size:0.8rem;color:{colors.muted}">{items}</div>'


def stripes(colors: Palette) -> str:
    """The background of a day without recording."""
    return f"linear-gradient(135deg,{colors.levels[0]} 44%,{colors.outline} 44% 56%,{colors.levels[0]} 56%)"


def _swatch(background: str, colors: Palette) -> str:
    style = f"display:inline-block;width:12px;height:12px;border-radius:2px;background:{background};border:1px solid {colors.outline}"
    return f'<span style="{style}"></span>&nbsp;'


def _range_text(low: int, high: int | None) -> str:
    if high is None:
        return f"{low:,} +"
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
