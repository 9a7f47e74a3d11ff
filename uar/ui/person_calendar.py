"""One person's calendar, as HTML of our own.

Nothing in it is clicked, and the library for charts takes a second before it draws its first one: too long for a drawer that is to open
at once. The cells, colors and marks are those of the site's calendar (`calendar_figure`); what a day holds stands beside the legend
while it is pointed at.
"""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd

from uar.report.levels import Levels
from uar.ui.calendar import legend, stripes
from uar.ui.calendar_figure import LABEL_PX, ROWS, STRIP, CalendarLook, cells, hover_texts, is_hatched, month_labels
from uar.ui.theme import Palette
from uar.ui.words import WEEKDAYS

LEAST_PX = 660  # narrower places scroll sideways, beginning at today
LEAST_WEEKS = 27  # shorter ranges keep their cells instead of blowing them up


def calendar_html(days: pd.DataFrame, look: CalendarLook, of_color: Levels, colors: Palette, label: str) -> str:
    """The calendar and its legend; `days` as from `uar.report.days.calendar`, `label` is what it is called for screen readers."""
    every = cells(days, look.week_start)
    past = every["day"] <= pd.Timestamp(look.today)
    every = every.assign(cell=pd.Series(_days(every[past], look), index=every.index[past], dtype="str")).fillna({"cell": ""})
    weeks = max(int(every["week"].max()) + 1, LEAST_WEEKS)
    names = "".join(f"<b>{WEEKDAYS[(row + look.week_start) % ROWS][:3] if row in (0, 2, 4) else ''}</b>" for row in range(ROWS))
    months = month_labels(every)
    strips = "".join(
        _strip(of_strip, [label for label in months if label[1] // STRIP + 1 == number], names)
        for number, of_strip in every.groupby("strip", sort=True)
    )
    # An element in focus can be scrolled by the arrow keys.
    body = f'<div class="uar-scroll" tabindex="0" role="group" aria-label="{escape(label)}"><div>{strips}</div></div>'
    below = legend(of_color, look.measure, colors, bool(is_hatched(every[past], look).any()))
    return f'<style>{_rules(weeks, colors)}</style><div class="uar-calendar">{body}{below}</div>'


def _days(past: pd.DataFrame, look: CalendarLook) -> list[str]:
    """An element per day, whose class is its level, or `h` if nothing is known about it, and `t` for today."""
    hatched = is_hatched(past, look)
    level = np.searchsorted(look.starts, past[look.measure], side="right").tolist()
    is_today = past["day"] == pd.Timestamp(look.today)
    rows = zip(level, hatched, is_today, hover_texts(past, hatched, has_people=False), strict=True)
    return [
        f'<i class="{"h" if is_unknown else f"l{number}"}{" t" if now else ""}" data-day="{" · ".join(lines)}"'
        for number, is_unknown, now, lines in rows
    ]


def _strip(every: pd.DataFrame, months: list[tuple[float, float, str]], names: str) -> str:
    """Seven rows of days, filled column by column, with the names of the months above and of the weekdays on the left."""
    week, row = int(every["week"].iloc[0]), int(every["row"].iloc[0])
    before = f'<s style="grid-area:1/1/{ROWS + 1}/{week + 1}"></s>' if week else ""
    starts = [f' style="grid-row:{row + 1}"', *[""] * len(every)]  # the others follow the first
    days = before + "".join(f"{cell}{start}></i>" for cell, start in zip(every["cell"], starts, strict=False) if cell)
    above = "".join(f'<b style="grid-column:{int(column) + 1}">{name}</b>' for column, _, name in months)
    parts = f'<b></b><div class="uar-months">{above}</div><div class="uar-names">{names}</div><div class="uar-days">{days}</div>'
    return f'<div class="uar-strip">{parts}</div>'


def _rules(weeks: int, colors: Palette) -> str:
    levels = "".join(f".uar-days .l{number}{{background:{color}}}" for number, color in enumerate(colors.levels))
    return (
        ".uar-calendar{position:relative}.uar-scroll{overflow-x:auto;direction:rtl;margin-bottom:0.5rem}"
        f".uar-scroll>div{{direction:ltr;min-width:{LEAST_PX}px}}"
        f".uar-strip{{display:grid;grid-template-columns:{LABEL_PX}px minmax(0,1fr);gap:6px 0;padding:2px 2px 8px 0}}"
        f".uar-strip b{{font-weight:400;font-size:12px;line-height:1;color:{colors.muted};white-space:nowrap;align-self:center}}"
        f".uar-months,.uar-days{{display:grid;grid-template-columns:repeat({weeks},minmax(0,1fr));gap:3px}}"
        ".uar-days{grid-auto-flow:column;grid-template-rows:repeat(7,auto)}"
        ".uar-names{display:grid;grid-template-rows:repeat(7,minmax(0,1fr));gap:3px}.uar-names b{height:0;line-height:0}"
        ".uar-days i{aspect-ratio:1;border-radius:2px;print-color-adjust:exact}"
        f"{levels}.uar-days .h{{background:{stripes(colors)}}}"
        f".uar-days .t{{outline:1px dotted {colors.text};outline-offset:1px}}.uar-days i:hover{{outline:1px solid {colors.text}}}"
        f".uar-days i:hover::after{{content:attr(data-day);position:absolute;right:0;bottom:0;color:{colors.text};"
        f"background:{colors.background};padding-left:12px;font-size:0.8rem;font-style:normal;white-space:nowrap}}"
    )
