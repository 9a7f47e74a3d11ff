"""The lower cards of the Activity Dashboard: what people do, when it happens, and what stands there if there is nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from uar.activity import ActivityType
from uar.report.breakdown import breakdown
from uar.report.punchcard import MIN_PEOPLE, punchcard
from uar.ui.charts import breakdown_figure, week_figure
from uar.ui.figures import NO_BAR, Figure
from uar.ui.filters import clear_all
from uar.ui.frame import View, drawn
from uar.ui.words import counted, date_range, long_date, quiet, short_date


def show_no_results(view: View) -> None:
    """Say why there is nothing: the period lies before recording or was pruned, or the filters leave nothing."""
    filters, recorded_from = view.filters, view.recorded_from
    if recorded_from and filters.last < recorded_from:
        why = "what is older than {} is not kept" if view.snapshot.is_pruned else "recording began on {}"
        st.info(
            f"There is no data for {date_range(filters.first, filters.last)}: {why.format(short_date(recorded_from))}.",
            icon=":material/history:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.info("Nothing happened that fits these filters.", icon=":material/filter_alt:", width="stretch")
        st.button("Clear all filters", key="no_results.clear", on_click=clear_all)


@dataclass(frozen=True)
class Bars:
    """What the card of the ten types shows: the figure, how many events it counts, and all of it as words."""

    figure: Figure
    events: int
    words: str


def show_breakdown(view: View) -> None:
    """Draw the ten bars; a click on a row filters the page by that type, a second one lifts it."""
    bars = drawn(view, ("breakdown", view.filters.narrowed(), view.colors), lambda: _bars(view))
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.header("What people do", width="content", anchor=False)
            st.session_state["breakdown.without_view"] = view.filters.is_without_views
            st.toggle("Without View", key="breakdown.without_view", on_change=_without_view)
        st.markdown(quiet(f"{counted(bars.events, 'event')}{_when(view)}. {_how_to_filter(view)}"))
        st.plotly_chart(
            bars.figure,
            theme=None,
            key="breakdown",
            on_select=_type_clicked,
            selection_mode="points",
            config=NO_BAR,
            alt=f"Events and people by event type: {bars.words}",
        )


def _bars(view: View) -> Bars:
    table = breakdown(view.snapshot.mirror, view.filters.narrowed())
    return Bars(breakdown_figure(table, view.colors), int(table["events"].sum()), _spoken(table))


def show_week(view: View) -> None:
    """Draw events by weekday and hour; never for fewer than a handful of people."""
    figure = drawn(view, ("week", view.filters.narrowed(), view.filters.week_start, view.colors), lambda: _week(view))
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center"):  # as high as the head of the card beside it
            st.header("When it happens", anchor=False)
        if figure is None:
            st.markdown(quiet(f"Shown when at least {MIN_PEOPLE} people were active: hours of single people are nobody's business."))
            return
        st.markdown(quiet(f"Events by weekday and hour{_when(view)}, {view.filters.zone}."))
        st.plotly_chart(figure, theme=None, key="week_hours", config=NO_BAR, alt="Events by weekday and hour of the day")


def _week(view: View) -> Figure | None:
    """The figure, None if too few people were active."""
    table = punchcard(view.snapshot.mirror, view.filters.narrowed())
    return None if table.isna().any(axis=None) else week_figure(table, view.filters.week_start, view.colors)


def _when(view: View) -> str:
    return f" on {long_date(view.filters.day)}" if view.filters.day else ""


def _how_to_filter(view: View) -> str:
    if len(view.filters.chosen_types) == 1:
        return "Click the row again to see all types."
    return "Click a row to filter the page by that type."


def _spoken(table: pd.DataFrame) -> str:
    rows = zip(table["type"], table["events"], table["people"], strict=True)
    return "; ".join(
        f"{kind.capitalize()} {counted(events, 'event')} by {counted(people, 'person', 'people')}" for kind, events, people in rows
    )


def _without_view() -> None:
    st.session_state["noviews"] = st.session_state["breakdown.without_view"]


def _type_clicked() -> None:
    points = st.session_state["breakdown"].selection.points
    label = ActivityType[str(points[0]["customdata"]).upper()].label if points else None
    st.session_state["types"] = [] if label is None or st.session_state.get("types") == [label] else [label]
