"""The figures: where a day stands, what is hatched, ringed or blank, and what is written."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uar.activity import ActivityType
from uar.report.levels import levels
from uar.ui.calendar import day_table, summary
from uar.ui.calendar_figure import CalendarLook, calendar_figure, cells
from uar.ui.charts import breakdown_figure, week_figure
from uar.ui.person_calendar import calendar_html
from uar.ui.theme import DARK, LIGHT, TYPE_COLORS

TODAY = date(2026, 11, 24)


def frame(first: date, last: date, events: int = 3) -> pd.DataFrame:
    """A calendar with the same number on every day, all of them views by one person."""
    day = pd.date_range(first, last, unit="s")
    zero = {kind.key: 0 for kind in ActivityType}
    return pd.DataFrame({"day": day, "events": events, "people": min(events, 1)} | zero | {"view": events})


def look(**changes: Any) -> CalendarLook:
    usual: dict[str, Any] = {
        "measure": "events",
        "starts": (1, 2, 5, 10),
        "today": TODAY,
        "recorded_from": None,
        "picked": None,
        "week_start": 0,
    }
    return CalendarLook(**(usual | changes))


@given(first=st.dates(date(2004, 1, 1), date(2030, 1, 1)), days=st.integers(1, 900), week_start=st.sampled_from([0, 5, 6]))
def test_every_day_has_a_cell_of_its_own_in_the_row_of_its_weekday(first: date, days: int, week_start: int) -> None:
    placed = cells(frame(first, first + timedelta(days=days - 1)), week_start)
    assert not placed.duplicated(["strip", "week", "row"]).any()
    assert ((placed["row"] + week_start) % 7 == placed["day"].dt.day_of_week).all()
    assert placed["week"].between(0, 53).all()
    assert placed["strip"].nunique() == (1 if placed["strip"].max() == 0 else placed["day"].dt.year.nunique())


def test_consecutive_days_are_one_below_the_other_or_in_the_next_week() -> None:
    placed = cells(frame(date(2025, 11, 25), TODAY), 0)
    order = (placed["week"] * 7 + placed["row"]).to_numpy()
    assert (np.diff(order) == 1).all()
    assert order[0] == 1  # 25 November 2025 was a Tuesday


def test_future_days_have_no_cell() -> None:
    figure = calendar_figure(frame(date(2026, 1, 1), date(2026, 12, 31)), look(), LIGHT)
    assert len(figure.data[2].x) == 328  # 1 January to 24 November
    assert np.isnan(np.asarray(figure.data[0].z, dtype=float)[4, 52])


def test_quiet_days_before_recording_and_in_gaps_are_hatched() -> None:
    days = frame(date(2026, 11, 1), TODAY, events=0)
    days.loc[1, "events"] = 1  # something was imported for 2 November
    figure = calendar_figure(days, look(recorded_from=date(2026, 11, 5), unknown=frozenset({date(2026, 11, 20)})), LIGHT)
    assert len(figure.data[1].x) == 4
    hover = dict(zip(figure.data[2].customdata, figure.data[2].hovertext, strict=True))
    assert hover["2026-11-20"].endswith("Not recorded")
    assert hover["2026-11-02"].endswith("1 event by 0 people<br>Mostly View")
    assert hover["2026-11-06"] == "<b>Friday, 6 November 2026</b><br>No activity"


def test_today_is_dotted_and_the_picked_day_ringed() -> None:
    figure = calendar_figure(frame(date(2026, 11, 2), TODAY), look(picked=date(2026, 11, 3)), DARK)
    today, picked = figure.layout.shapes
    assert (today.line.dash, today.x0, today.y0) == ("dot", 2.5, 0.5)
    assert (picked.line.dash, picked.x0, picked.y0) == ("solid", -0.5, 0.5)


@pytest.mark.parametrize(("events", "level"), [(0, 0), (1, 1), (2, 2), (4, 2), (5, 3), (10, 4), (999, 4)])
def test_colors_follow_the_levels(events: int, level: int) -> None:
    figure = calendar_figure(frame(TODAY, TODAY, events), look(), LIGHT)
    assert np.asarray(figure.data[0].z)[1, 0] == level


def test_a_click_never_dims_the_calendar() -> None:
    targets = calendar_figure(frame(date(2026, 11, 2), TODAY), look(), LIGHT).data[2]
    assert (targets.marker.opacity, targets.selected.marker.opacity, targets.unselected.marker.opacity) == (0, 0, 0)


def test_months_stand_above_their_first_full_week_without_touching() -> None:
    figure = calendar_figure(frame(date(2025, 11, 25), TODAY), look(), LIGHT)
    names = [(note.text, note.x) for note in figure.layout.annotations]
    assert [name for name, _ in names] == ["Dec", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov"]
    assert min(b - a for (_, a), (_, b) in pairwise(names)) >= 3


def test_long_ranges_have_a_strip_per_year_with_its_number() -> None:
    figure = calendar_figure(frame(date(2024, 9, 1), TODAY), look(), LIGHT)
    years = [note.text for note in figure.layout.annotations if "<b>" in note.text]
    assert years == ["<b>2026</b>  Jan", "<b>2025</b>  Jan", "<b>2024</b>  Sep"]


def test_the_spoken_sentence_names_the_extremes() -> None:
    days = frame(date(2026, 10, 26), TODAY, events=10)
    days.loc[days["day"] == "2026-11-04", "events"] = 50
    days.loc[days["day"].between("2026-11-09", "2026-11-13"), "events"] = 2
    assert summary(days, "events", TODAY) == (
        "Busiest day: Wednesday, 4 November 2026, 50 events. Quietest working week: from 9 Nov 2026, 10 events."
    )
    assert "from 26 Oct 2026, 50 events" in summary(days, "events", TODAY, frozenset({date(2026, 11, 12)}))  # a day without a worker
    assert summary(days.assign(events=0), "events", TODAY) == "No activity in this period."


def test_a_persons_calendar_has_the_cells_of_the_sites_calendar() -> None:
    days = frame(date(2025, 11, 20), date(2026, 12, 31))
    days.loc[days["day"] == pd.Timestamp(2026, 11, 1), ["events", "view", "comment"]] = [7, 2, 5]
    seen = look(recorded_from=date(2025, 11, 22))
    page = calendar_html(days, seen, levels(days["events"].to_numpy()), LIGHT, 'all of "it"')
    newest, oldest = page.split('<div class="uar-strip">')[1:]
    assert newest.count("<i ") == (TODAY - date(2026, 1, 1)).days + 1  # days to come have none
    (first,) = re.findall(r'<i class="([^"]+)" data-day="([^"]+)" style="grid-row:4"', newest)
    assert first == ("l2", "Thursday, 1 January 2026 · 3 events · Mostly View")
    assert '<i class="l3" data-day="Sunday, 1 November 2026 · 7 events · Mostly Comment"></i>' in newest
    assert newest.count(' t"') == 1
    assert '<s style="grid-area:1/1/8/47"></s>' in oldest  # the year began 46 weeks before
    assert oldest.count("<i ") == 42
    assert oldest.count('class="h"') == 0  # something happened on each
    assert "<b>2025</b>  Dec" in oldest
    assert 'aria-label="all of &quot;it&quot;"' in page


def test_the_table_is_the_calendar_as_text_newest_first() -> None:
    table = day_table(frame(date(2026, 11, 20), date(2026, 12, 31)), TODAY)
    assert list(table.columns) == ["Date", "Weekday", "Events", "People", *(kind.label for kind in ActivityType)]
    assert table.iloc[0, :5].tolist() == [TODAY, "Tuesday", 3, 1, 3]
    assert len(table) == 5


def breakdown(events: list[int]) -> pd.DataFrame:
    total = max(1, sum(events))
    return pd.DataFrame(
        {"type": [kind.key for kind in ActivityType], "events": events, "share": [n / total for n in events], "people": events}
    )


def test_ten_bars_have_their_colors_and_their_numbers_written_out() -> None:
    figure = breakdown_figure(breakdown([9_000, 1_000, 0, 0, 0, 0, 0, 0, 0, 0]), LIGHT)
    assert list(figure.data[0].y) == ["View", "Create", "Update", "Delete", "Comment", "Like", "Attachment", "Label", "Space", "Other"]
    assert list(figure.data[0].marker.color) == list(TYPE_COLORS.values())
    assert {"9,000", "90.0 %", "10.0 %", "0"} <= {note.text for note in figure.layout.annotations}
    assert list(figure.data[1].customdata) == [kind.key for kind in ActivityType]


def test_a_bar_that_is_not_nothing_can_be_seen() -> None:
    bars = breakdown_figure(breakdown([1_000_000, 1, 0, 0, 0, 0, 0, 0, 0, 0]), LIGHT).data[0].x
    assert bars[1] == 4_000
    assert bars[2] == 0


def test_the_week_begins_with_the_chosen_day() -> None:
    table = pd.DataFrame(0, index=range(7), columns=range(24), dtype="Int64")
    table.loc[6, 9] = 4
    figure = week_figure(table, 6, LIGHT)
    assert figure.data[0].y[0] == "Sun"
    assert figure.data[0].z[0][9] == 2  # by the root, so that quiet hours can be told apart
    assert figure.data[0].text[0][9] == "<b>Sunday, 09:00 – 10:00</b><br>4 events"
