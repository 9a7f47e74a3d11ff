"""The breakdown by event type and the picture of the week, as figures from DataFrames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from uar.activity import ActivityType
from uar.ui.figures import AXIS, Figure, layout_base
from uar.ui.theme import TYPE_COLORS, Palette
from uar.ui.words import WEEKDAYS, counted, percent

BAR_PX = 30
COLUMNS_PX = {"events": 64, "share": 128, "people": 190}  # right edges of the written numbers, from the end of the bars
HEAD_PX = 24


def breakdown_figure(breakdown: pd.DataFrame, colors: Palette) -> Figure:
    """Ten bars in the fixed order, with count, share and people in columns beside them; `breakdown` as from `uar.report.breakdown`.

    An invisible bar over the whole width of each row takes hover and click; its `customdata` is the type's key.
    """
    types = [ActivityType[key.upper()] for key in breakdown["type"]]
    labels = [kind.label for kind in types]
    events = breakdown["events"].to_numpy()
    widest = max(int(events.max()), 1)
    bars = go.Bar(
        x=np.where(events > 0, np.maximum(events, widest * 0.004), 0),  # what is not nothing can be seen
        y=labels,
        orientation="h",
        marker={"color": [TYPE_COLORS[kind] for kind in types], "cornerradius": 3},
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        hoverinfo="skip",
    )
    return Figure([bars, _row_targets(breakdown, labels, widest)], _breakdown_layout(breakdown, labels, widest, colors))


def breakdown_height() -> int:
    """The height of the breakdown's figure in pixels."""
    return len(ActivityType) * BAR_PX + HEAD_PX


def _row_targets(breakdown: pd.DataFrame, labels: list[str], widest: int) -> go.Bar:
    unseen = {"marker": {"opacity": 0}}
    rows = zip(labels, breakdown["events"], breakdown["share"], breakdown["people"], strict=True)
    texts = [
        f"<b>{label}</b><br>{counted(events, 'event')}, {percent(share)}<br>{counted(people, 'person', 'people')}"
        for label, events, share, people in rows
    ]
    return go.Bar(
        x=[widest] * len(labels),
        y=labels,
        orientation="h",
        marker={"opacity": 0},
        selected=unseen,
        unselected=unseen,
        customdata=list(breakdown["type"]),
        hovertext=texts,
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _breakdown_layout(breakdown: pd.DataFrame, labels: list[str], widest: int, colors: Palette) -> dict[str, Any]:
    return layout_base(colors) | {
        "barmode": "overlay",
        "bargap": 0.42,
        "height": breakdown_height(),
        "xaxis": AXIS | {"visible": False, "range": [0, widest]},
        "yaxis": AXIS | {"range": [len(labels) - 0.5, -0.5], "ticklabelstandoff": 6, "tickfont": {"size": 13, "color": colors.text}},
        "margin": {"l": 80, "r": COLUMNS_PX["people"], "t": HEAD_PX, "b": 0},
        "annotations": list(_written(breakdown, labels, colors)),
    }


def _written(breakdown: pd.DataFrame, labels: list[str], colors: Palette) -> list[dict[str, Any]]:
    head = [_cell(column.capitalize(), column, None, colors.muted) for column in COLUMNS_PX]
    rows = zip(labels, breakdown["events"], breakdown["share"], breakdown["people"], strict=True)
    for label, events, share, people in rows:
        head.append(_cell(f"{events:,}", "events", label, colors.text))
        head.append(_cell(percent(share), "share", label, colors.muted))
        head.append(_cell(f"{people:,}", "people", label, colors.muted))
    return head


def _cell(text: str, column: str, label: str | None, color: str) -> dict[str, Any]:
    place = {"y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 4} if label is None else {"y": label, "yanchor": "middle"}
    font = {"size": 12 if label is None else 13, "color": color}
    shift = COLUMNS_PX[column]
    return place | {"x": 1, "xref": "paper", "xanchor": "right", "xshift": shift, "text": text, "showarrow": False, "font": font}


def week_figure(punchcard: pd.DataFrame, week_start: int, colors: Palette) -> Figure:
    """Events per weekday and hour: `punchcard` as from `uar.report.punchcard`. Rows begin with `week_start`."""
    order = [(week_start + row) % 7 for row in range(7)]
    grid = punchcard.to_numpy(dtype="int64")[order]
    most = max(int(grid.max()), 1)
    texts = [
        [f"<b>{WEEKDAYS[day]}, {hour:02}:00 – {hour + 1:02}:00</b><br>{counted(int(grid[row, hour]), 'event')}" for hour in range(24)]
        for row, day in enumerate(order)
    ]
    scale = [(level / 4, color) for level, color in enumerate(colors.levels)]
    heatmap = go.Heatmap(
        z=np.sqrt(grid), zmin=0, zmax=np.sqrt(most), x=list(range(24)), y=[WEEKDAYS[day][:3] for day in order],
        colorscale=scale, showscale=False, xgap=2, ygap=2, text=texts, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    layout = {
        "height": breakdown_height(),
        "margin": {"l": 38, "r": 2, "t": 4, "b": 24},
        "xaxis": AXIS | {"tickvals": [0, 6, 12, 18], "ticktext": ["00", "06", "12", "18"]},
        "yaxis": AXIS | {"autorange": "reversed", "ticklabelstandoff": 4},
    }
    return Figure([heatmap], layout_base(colors) | layout)
