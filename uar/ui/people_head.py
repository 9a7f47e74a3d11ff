"""What stands above and below the list of people: counts by status, search, order, columns, export, pages, and the sentences."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import streamlit as st

from uar.report.export import Heading, users_csv, users_file_name, with_mark
from uar.report.status import HISTORY_DAYS, Rules, Status
from uar.ui.chips import chips, show_chips
from uar.ui.filters import BOUND, clear, clear_all, first_page
from uar.ui.frame import View
from uar.ui.grid import CHOICE, DEFAULT_COLUMNS, STATUS_COLORS
from uar.ui.people import Directory, Everybody, Rows
from uar.ui.people_filters import (
    CLEAN_UP,
    DEFAULT_SORT,
    PAGE_SIZES,
    PeopleFilters,
    lift_where,
    people_chips,
    set_sort,
)
from uar.ui.theme import DARK, Palette
from uar.ui.words import counted, plain, quiet, short_date

ALL_PEOPLE, CLEAN_UP_LABEL = "Last active first", "Clean-up"
CLEAN_UP_RULE = (
    "Clean-up lists who was never seen first, then whose last activity is the longest ago; deactivated accounts and apps come last."
)
SEEN_ONLY = "These are the people seen in events. A directory sync adds names, email addresses, groups, and everybody who never came"
HOW_TO_SYNC = (
    ": set UAR\\_CONFLUENCE\\_URLS and UAR\\_CONFLUENCE\\_CREDENTIALS, then run `python -m uar sync`. "
    "A Cloud site with the Forge app needs neither: it is read once the app has delivered."
)
SIZE = 50


def show_statuses(counts: Mapping[str, int], filters: PeopleFilters) -> None:
    """Draw one pill per status with its count; a click filters by it."""
    st.session_state["people.pills"] = [name for name in counts if name in filters.statuses]
    st.pills(
        "People by status",
        list(counts),
        selection_mode="multi",
        format_func=lambda name: f"{Status(name).shape} {name} {counts[name]:,}",
        key="people.pills",
        on_change=_pill_clicked,
        label_visibility="collapsed",
    )


def _pill_clicked() -> None:
    st.session_state["status"] = list(st.session_state["people.pills"])
    first_page()


def show_people_chips(view: View, filters: PeopleFilters) -> None:
    """Draw every active filter as a chip that lifts it."""
    found = chips(view.filters) | people_chips(filters)
    found.pop("day", None)  # the list is of the whole period
    show_chips(found, _lift)


def _lift(key: str) -> None:
    if key.startswith("where."):
        lift_where(key.removeprefix("where."))
    else:
        clear(key)
        first_page()


def show_toolbar(view: View, people: Everybody, rows: Rows, filters: PeopleFilters) -> list[str]:
    """Draw search, order, columns and export; returns the chosen columns."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="people_bar"):
        st.text_input(
            "Search by name or email", placeholder="Name or email", key="search", bind=BOUND, type="search", live=True, max_chars=200,
            icon=":material/search:", label_visibility="collapsed", width=240, on_change=first_page,
        )  # fmt: skip
        _order(filters)
        st.space("stretch")
        columns = _columns()
        _export(view, people, rows)
    return columns


def _order(filters: PeopleFilters) -> None:
    st.session_state["people.order"] = {CLEAN_UP: CLEAN_UP_LABEL, "days": ALL_PEOPLE}.get(filters.sort[0])
    if filters.sort not in (DEFAULT_SORT, (CLEAN_UP, "")):
        st.session_state["people.order"] = None
    st.segmented_control(
        "Order", (ALL_PEOPLE, CLEAN_UP_LABEL), key="people.order", on_change=_order_chosen, label_visibility="collapsed", help=CLEAN_UP_RULE
    )


def _order_chosen() -> None:
    set_sort(*((CLEAN_UP, "") if st.session_state["people.order"] == CLEAN_UP_LABEL else DEFAULT_SORT))


def _columns() -> list[str]:
    labels = {label: name for name, label in CHOICE.items()}
    default = [CHOICE[name] for name in DEFAULT_COLUMNS]
    with st.popover("Columns", icon=":material/view_column:", width="content"):
        chosen = st.multiselect("Columns of the list", list(labels), default=default, key="columns", bind=BOUND)
    return [labels[label] for label in chosen]


def _export(view: View, people: Everybody, rows: Rows) -> None:
    heading = Heading(view.filters.first, view.filters.last, view.filters.zone, datetime.fromtimestamp(time.time(), UTC))
    st.download_button(
        f"Export {counted(len(rows), 'account')} (CSV)",
        data=lambda: with_mark(users_csv(people.table.iloc[rows], heading)),
        file_name=users_file_name(view.site, heading),
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        disabled=not len(rows),
        key="people.export",
    )


def show_notes(view: View, people: Everybody, known: Directory) -> None:
    """Say what the list cannot know yet: no directory, a sync that failed, too short a recording."""
    if known.attempt and known.attempt.error:
        st.warning(f"The directory could not be read. {plain(known.attempt.error)}", icon=":material/sync_problem:")
    if not view.snapshot.people["synced_at"].notna().any():
        st.markdown(quiet(SEEN_ONLY + ("." if known.attempt and known.attempt.error else HOW_TO_SYNC)))
    if note := _history_note(people.rules):
        st.markdown(quiet(note))


def _history_note(rules: Rules) -> str:
    """From when on "Never seen" can be said, unless it can be said already."""
    start = rules.never_seen_from
    if start is None:
        return f"Nothing is recorded yet. After {HISTORY_DAYS} days of recording “Not enough history” becomes “Never seen”."
    if start > rules.today:
        return f"“Never seen” can be said from {short_date(start)} on; until then it reads “Not enough history”."
    return ""


def show_nobody(people: Everybody) -> None:
    """Say why the list is empty: nothing fits the filters, or there is nobody yet."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if len(people.table):
            st.info("Nobody fits these filters.", icon=":material/filter_alt:", width="stretch")
            st.button("Clear all filters", key="nobody.clear", on_click=clear_all)
        else:
            st.info("There are no people yet: nobody has done anything, and no directory was read.", icon=":material/group_off:")


def show_pages(total: int) -> None:
    """Draw the range shown, the page numbers and the size of a page."""
    size, number = page_size(), page_number(total)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="people_pages"):
        first = min(total, (number - 1) * size + 1)
        st.markdown(quiet(f"{first:,}–{min(total, number * size):,} of {counted(total, 'account')}"), width="content")
        # Of a fixed width: as wide as its content, it stays at one page once it had only one.
        st.pagination(pages(total), key="page", bind=BOUND, width=400)
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            st.markdown(quiet("Rows per page"), width="content")
            st.selectbox(
                "Rows per page", PAGE_SIZES, index=PAGE_SIZES.index(SIZE), key="rows", bind=BOUND, width=90,
                label_visibility="collapsed", on_change=first_page,
            )  # fmt: skip


def page_size() -> int:
    """The chosen number of rows per page, before its widget is drawn."""
    asked = str(st.session_state.get("rows") or st.query_params.get("rows") or SIZE)
    return int(asked) if asked in map(str, PAGE_SIZES) else SIZE


def page_number(total: int) -> int:
    """The page to show, before its widget is drawn; one beyond the last becomes the last."""
    asked = str(st.session_state.get("page") or st.query_params.get("page") or 1)
    number = max(1, min(int(asked) if asked.isdecimal() else 1, pages(total)))
    if asked != str(number):
        st.session_state["page"] = number
    return number


def pages(total: int) -> int:
    """How many pages so many rows make; at least one."""
    return max(1, -(-total // page_size()))


def page_of(rows: Rows) -> Rows:
    """The rows of the page to show."""
    start = (page_number(len(rows)) - 1) * page_size()
    return np.asarray(rows[start : start + page_size()])


def show_share(counts: Mapping[str, int], colors: Palette) -> None:
    """Draw the statuses as one thin bar, as wide as the page."""
    shade = int(colors == DARK)
    shares = "".join(
        f'<div style="flex:{number} 0 0;background:{STATUS_COLORS.get(Status(name), (colors.outline,) * 2)[shade]}"></div>'
        for name, number in counts.items()
    )
    spoken = "Share of each status: " + ", ".join(f"{name} {number:,}" for name, number in counts.items())
    st.html(f'<div role="img" aria-label="{spoken}" style="display:flex;height:8px;border-radius:4px;overflow:hidden">{shares}</div>')
