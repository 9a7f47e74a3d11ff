"""The active filters as chips above the numbers; a click on one lifts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from uar.activity import ActivityType
from uar.ui import periods
from uar.ui.filters import Filters, clear, clear_all
from uar.ui.words import date_range, plain, short_date


def chips(filters: Filters) -> dict[str, str]:
    """What is filtered: the key of each filter that is not at its default, and its words."""
    found: dict[str, str] = {}
    if filters.day:
        found["day"] = f"Day: {filters.day:%a} {short_date(filters.day)}"
    if filters.period != periods.DEFAULT:
        found["period"] = f"Period: {filters.period if filters.period != periods.CUSTOM else date_range(filters.first, filters.last)}"
    if filters.zone != filters.own_zone:
        found["zone"] = f"Timezone: {filters.zone}"
    if filters.chosen_types:
        found["types"] = f"Type: {_few([kind.label for kind in ActivityType if kind in filters.chosen_types])}"
    if filters.space_names:
        found["spaces"] = f"Space: {_few(list(filters.space_names))}"
    if filters.is_working_days_only:
        found["workdays"] = "Working days only"
    if filters.is_without_views:
        found["noviews"] = "Without views"
    return found


def show_chips(found: Mapping[str, str], lift: Callable[[str], None] = clear, lift_all: Callable[[], None] = clear_all) -> None:
    """Draw a chip per filter (its key and words) and what lifts them all; nothing if nothing is filtered."""
    if not found:
        return
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="chips"):
        for key, words in found.items():
            st.button(
                plain(words),
                key=f"chip.{key}",
                icon=":material/close:",
                icon_position="right",
                help="Remove this filter",
                on_click=lift,
                args=(key,),
            )
        if len(found) > 1:
            st.button("Clear all", key="chip.all", type="tertiary", on_click=lift_all)


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 2 else f"{names[0]} and {len(names) - 1} more"
