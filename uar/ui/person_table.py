"""What one person does, by event type, as a table with bars: this period, the one before, and the median of a group."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import pandas as pd

from uar.activity import ActivityType
from uar.ui.theme import TYPE_COLORS, Palette
from uar.ui.words import percent


@dataclass(frozen=True)
class Median:
    """The median of a group's members: `counts` as from `uar.report.people.median_of`; `members` is the size of the group."""

    group: str
    members: int
    counts: pd.Series


def breakdown_html(now: pd.DataFrame, then: pd.DataFrame | None, median: Median | None, colors: Palette) -> str:
    """The table, ten types and a total; `now` and `then` as from `uar.report.breakdown`."""
    heads = ["Events", "Share"] + (["Before"] if then is not None else []) + (["Median"] if median else [])
    most = max(int(now["events"].max()), 1)
    rows = [
        _row(kind, int(events), float(share), most, _others(place, kind, then, median), colors)
        for place, (kind, events, share) in enumerate(zip(ActivityType, now["events"], now["share"], strict=True))
    ]
    total = ["Total", "", f"{int(now['events'].sum()):,}", ""]
    total += [] if then is None else [f"{int(then['events'].sum()):,}"]
    total += [f"{median.counts['events']:,.0f}"] if median else []
    head = f'<th scope="col" colspan="2" style="{_cell(0, colors.muted)}">Event type</th>'
    head += "".join(f'<th scope="col" style="{_cell(number, colors.muted)}">{escape(name)}</th>' for number, name in enumerate(heads, 2))
    foot = "".join(
        f'<td style="{_cell(number, colors.text)};border-top:1px solid {colors.border}">{text}</td>' for number, text in enumerate(total)
    )
    style = "width:100%;border-collapse:collapse;font-size:0.9rem;font-variant-numeric:tabular-nums"
    return f'<table style="{style}"><tr>{head}</tr>{"".join(rows)}<tr>{foot}</tr></table>'


def _others(place: int, kind: ActivityType, then: pd.DataFrame | None, median: Median | None) -> list[str]:
    return ([] if then is None else [f"{int(then['events'].iloc[place]):,}"]) + ([f"{median.counts[kind.key]:,.0f}"] if median else [])


def _row(kind: ActivityType, events: int, share: float, most: int, others: list[str], colors: Palette) -> str:
    width = 0.0 if not events else max(events / most * 100, 1.0)
    bar = f'<div style="width:{width:.1f}%;height:14px;border-radius:3px;background:{TYPE_COLORS[kind]}"></div>'
    cells = [kind.label, bar, f"{events:,}", percent(share), *others]
    styles = [_cell(number, colors.text if number in (0, 2) else colors.muted) for number in range(len(cells))]
    return "<tr>" + "".join(f'<td style="{style}">{text}</td>' for style, text in zip(styles, cells, strict=True)) + "</tr>"


def _cell(number: int, color: str) -> str:
    """Text on the left, a wide column for the bars, numbers on the right."""
    width = ";width:45%" if number == 1 else ";white-space:nowrap"
    return f"border:0;padding:4px 8px;font-weight:400;text-align:{'left' if number < 2 else 'right'};color:{color}{width}"
