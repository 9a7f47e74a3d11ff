"""The calendar heatmap as a figure: whole weeks, one strip of seven rows per year where the range is longer than 54 weeks.

    days (DataFrame) -> cells (strip, week, weekday) -> heatmap for the colors + one invisible marker per day for hover and click

The heatmap scales with the width of the page but never reports a click; the markers do. The ring of the picked day, the dotted frame
of today and the hatching of days without recording are drawn on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from uar.activity import ActivityType
from uar.ui.figures import AXIS, Figure, layout_base
from uar.ui.theme import Palette
from uar.ui.words import MONTHS, WEEKDAYS, counted, long_date

ROWS = 7
STRIP = 9  # seven days, a line for the months, a gap
MOST_WEEKS = 54
LABEL_PX = 34
CELL_MARGIN_PX = LABEL_PX + 2


@dataclass(frozen=True)
class CalendarLook:
    """What the calendar shows besides the days' numbers.

    `measure` is the column that gives the color, `starts` the lowest value of the levels 1 to 4. Days before `recorded_from`
    and the `unknown` ones, in a gap of recording, are hatched; `picked` has a ring; week days begin with `week_start` (0 = Monday).
    """

    measure: str
    starts: tuple[int, int, int, int]
    today: date
    recorded_from: date | None
    picked: date | None
    week_start: int
    unknown: frozenset[date] = frozenset()


def cells(days: pd.DataFrame, week_start: int) -> pd.DataFrame:
    """The place of each day. Columns added: strip int64 (0 on top), week int64 (column), row int64 (0 = first day of the week).

    One strip for up to 54 weeks; else one per calendar year, the newest on top.
    """
    day = days["day"].to_numpy().astype("datetime64[D]").astype(np.int64)
    start = day - (day + 3 - week_start) % ROWS  # 1970-01-01 was a Thursday
    placed = days.assign(row=(day + 3 - week_start) % ROWS)
    if not len(day) or (start[-1] - start[0]) // ROWS < MOST_WEEKS:
        return placed.assign(strip=0, week=(start - start[:1].sum()) // ROWS)
    year = days["day"].dt.year.to_numpy()
    first = np.array([date(one, 1, 1).toordinal() - date(1970, 1, 1).toordinal() for one in year])
    first = first - (first + 3 - week_start) % ROWS
    return placed.assign(strip=year.max() - year, week=(start - first) // ROWS)


def calendar_figure(days: pd.DataFrame, look: CalendarLook, colors: Palette) -> Figure:
    """The figure; `days` as from `uar.report.days.calendar`. Days after `look.today` have no cell."""
    placed = cells(days[days["day"] <= pd.Timestamp(look.today)], look.week_start)
    every = cells(days, look.week_start)
    strips, weeks = int(every["strip"].max()) + 1, int(every["week"].max()) + 1
    hatched = is_hatched(placed, look)
    traces = [_heatmap(placed, look, colors, strips, weeks), _hatching(placed[hatched], colors), _targets(placed, hatched)]
    # The layout goes in at once: changing a figure afterwards takes ten times as long.
    return Figure(traces, _layout(every, look, colors, strips, weeks) | {"shapes": _frames(placed, look, colors)})


def figure_units(days: pd.DataFrame, week_start: int) -> tuple[int, int]:
    """Width and height of the figure in cells: the number of weeks, and of rows with the lines for the months."""
    placed = cells(days, week_start)
    return int(placed["week"].max()) + 1, (int(placed["strip"].max()) + 1) * STRIP - 1


def is_hatched(days: pd.DataFrame, look: CalendarLook) -> pd.Series[bool]:
    """Per day: nothing is known about it, because it lies before recording began or in a gap, and nothing happened on it."""
    before = pd.Series(False, index=days.index) if look.recorded_from is None else days["day"] < pd.Timestamp(look.recorded_from)
    gap = days["day"].isin([pd.Timestamp(day) for day in look.unknown])
    return (before | gap) & (days["events"] == 0)


def _heatmap(placed: pd.DataFrame, look: CalendarLook, colors: Palette, strips: int, weeks: int) -> go.Heatmap:
    grid = np.full((strips * STRIP, weeks), np.nan)
    grid[placed["strip"] * STRIP + placed["row"], placed["week"]] = np.searchsorted(look.starts, placed[look.measure], side="right")
    scale = [(edge, color) for level, color in enumerate(colors.levels) for edge in (level / 5, (level + 1) / 5)]
    return go.Heatmap(z=grid, zmin=-0.5, zmax=4.5, colorscale=scale, showscale=False, xgap=3, ygap=3, hoverinfo="skip")


def _hatching(placed: pd.DataFrame, colors: Palette) -> go.Scatter:
    marker = {"symbol": "line-ne", "size": 7, "line": {"color": colors.outline, "width": 1}}
    y = placed["strip"] * STRIP + placed["row"]
    return go.Scatter(x=placed["week"], y=y, mode="markers", marker=marker, hoverinfo="skip", showlegend=False)


def _targets(placed: pd.DataFrame, hatched: pd.Series[bool]) -> go.Scatter:
    # Also under `selected` and `unselected`, else a click dims everything.
    unseen = {"marker": {"opacity": 0}}
    return go.Scatter(
        x=placed["week"],
        y=placed["strip"] * STRIP + placed["row"],
        mode="markers",
        marker={"symbol": "square", "size": 18, "opacity": 0},
        selected=unseen,
        unselected=unseen,
        customdata=placed["day"].dt.strftime("%Y-%m-%d"),
        hovertext=[f"<b>{day}</b><br>" + "<br>".join(facts) for day, *facts in hover_texts(placed, hatched)],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )


def hover_texts(placed: pd.DataFrame, hatched: pd.Series[bool], has_people: bool = True) -> list[list[str]]:
    """What is said of each day, in lines: its date, what happened, and what of it most."""
    by_type = placed[[kind.key for kind in ActivityType]].to_numpy()
    strongest = [ActivityType(int(kind)).label for kind in by_type.argmax(axis=1)]
    rows = zip(placed["day"].dt.date, placed["events"], placed["people"], strongest, hatched, strict=True)
    return [[long_date(day), *_facts(events, people if has_people else None, kind, unknown)] for day, events, people, kind, unknown in rows]


def _facts(events: int, people: int | None, strongest: str, is_unknown: bool) -> list[str]:
    if is_unknown:
        return ["Not recorded"]
    if not events:
        return ["No activity"]
    by = "" if people is None else f" by {counted(people, 'person', 'people')}"
    return [f"{counted(events, 'event')}{by}", f"Mostly {strongest}"]


def _frames(placed: pd.DataFrame, look: CalendarLook, colors: Palette) -> list[dict[str, Any]]:
    """The dotted frame of today, which is not over yet, and the ring of the picked day."""
    found = []
    for day, dash in ((look.today, "dot"), (look.picked, "solid")):
        here = placed[placed["day"] == pd.Timestamp(day)] if day else placed[:0]
        for x, y in zip(here["week"], here["strip"] * STRIP + here["row"], strict=True):
            place = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
            found.append(
                place
                | {
                    "type": "rect",
                    "line": {"color": colors.text, "width": 2, "dash": dash},
                    "fillcolor": "rgba(0,0,0,0)",
                }
            )
    return found


def _layout(every: pd.DataFrame, look: CalendarLook, colors: Palette, strips: int, weeks: int) -> dict[str, Any]:
    names = [WEEKDAYS[(row + look.week_start) % ROWS][:3] for row in range(ROWS)]
    shown = [(strip * STRIP + row, names[row]) for strip in range(strips) for row in (0, 2, 4)]
    last_row = strips * STRIP - 3
    return layout_base(colors) | {
        "xaxis": AXIS | {"range": [-0.6, weeks - 0.4], "showticklabels": False, "constrain": "domain", "constraintoward": "left"},
        "yaxis": AXIS
        | {"range": [last_row + 0.6, -1.4], "tickvals": [y for y, _ in shown], "ticktext": [name for _, name in shown]}
        | {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"},
        "annotations": [_month_label(x, y, text) for x, y, text in month_labels(every)],
        "margin": {"l": LABEL_PX, "r": 2, "t": 0, "b": 2},
    }


def _month_label(x: float, y: float, text: str) -> dict[str, Any]:
    return {"x": x - 0.5, "y": y, "text": text, "showarrow": False, "xanchor": "left", "yanchor": "middle"}


def month_labels(every: pd.DataFrame) -> list[tuple[float, float, str]]:
    """Where each month's name stands: above its first full week, or above the first one if there is none of any month.

    With several strips the first name of each has the year before it.
    """
    labels: list[tuple[float, float, str]] = []
    has_strips = int(every["strip"].max()) > 0
    heads = every[(every["row"] == 0) & (every["day"].dt.day <= ROWS)]
    for strip, of_strip in heads.groupby("strip", sort=True):
        free_from = 0
        for week, day in zip(of_strip["week"], of_strip["day"], strict=True):
            if week < free_from:
                continue
            is_first = has_strips and free_from == 0
            free_from = week + (4 if is_first else 3)
            name = MONTHS[day.month - 1][:3]
            labels.append((float(week), int(str(strip)) * STRIP - 0.95, f"<b>{day.year}</b>  {name}" if is_first else name))
    return labels or [(0.0, -0.95, MONTHS[every["day"].iloc[0].month - 1][:3])]
