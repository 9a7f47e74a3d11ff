"""The Activity dialog: what one person does, as a drawer beside the list.

The person stands in the address (`person`, an account id), so that a link opens the drawer and Back closes it. Previous and next follow
the list's order and run only the drawer. Days, never hours.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import streamlit as st

from uar.report.breakdown import breakdown
from uar.report.days import calendar
from uar.report.export import Heading, days_csv, person_file_name, with_mark
from uar.report.levels import levels
from uar.report.people import median_of
from uar.report.periods import Period
from uar.report.selection import Selection
from uar.report.status import Status, local_date
from uar.ui import periods
from uar.ui.calendar_figure import CalendarLook
from uar.ui.cards import (
    ACTIVE_DAYS_RULE,
    CURRENT_STREAK_RULE,
    LONGEST_STREAK_RULE,
    Card,
    changes,
    compared,
    current_note,
    longest_note,
    show_card,
    view_kpis,
)
from uar.ui.frame import View
from uar.ui.people import Directory, Everybody, Rows
from uar.ui.person_calendar import calendar_html
from uar.ui.person_table import Median, breakdown_html
from uar.ui.person_timeline import show_timeline
from uar.ui.words import counted, date_range, plain, quiet, short_date

WIDTH_PX = 800
# Streamlit makes headings in a dialog smaller than the text under them.
HEADINGS = (
    "<style>.st-key-person h2{font-size:1.2rem;font-weight:600;padding:0.25rem 0 0.5rem}"
    ".st-key-person .st-key-person_name h2{font-size:1.5rem;padding:0}</style>"
)


@dataclass(frozen=True)
class Person:
    """One row of the people table. `place` is the row's place in the list as filtered and ordered, None if it is not in it."""

    id: int
    row: pd.Series
    place: int | None
    selection: Selection

    @property
    def name(self) -> str:
        """The display name, else the account id."""
        return str(self.row["display_name"] or self.row["account_id"])


def open_person(view: View, people: Everybody, rows: Rows, known: Directory) -> None:
    """Open the drawer if the address names somebody who exists."""
    asked = st.query_params.get("person")
    if asked is None:
        return
    if find_person(view, people, rows, asked) is None:
        st.query_params.pop("person", None)
        st.toast("Nobody here has the account id of the link.", icon=":material/person_off:")
        return
    drawer = st.dialog("Activity", width=WIDTH_PX, position="right", on_dismiss=_close)
    drawer(_show)(view, people, rows, known)


def find_person(view: View, people: Everybody, rows: Rows, account: str) -> Person | None:
    """The person with this account id, whatever its case; None if there is none."""
    accounts = people.table["account_id"]
    found = np.flatnonzero((accounts == account).to_numpy())
    if not len(found):
        found = np.flatnonzero((accounts.astype("str").str.casefold() == account.strip().casefold()).to_numpy())
    if len(found) == 0:
        return None
    place = np.flatnonzero(rows == found[0])
    number = int(people.table["id"].iloc[found[0]])
    # An app's own record counts, although apps are left out of everything else.
    selection = replace(view.filters.of_period(), people=frozenset({number}), left_out=frozenset())
    return Person(number, people.table.iloc[int(found[0])], int(place[0]) if len(place) else None, selection)


def _close() -> None:
    st.query_params.pop("person", None)


def _show(view: View, people: Everybody, rows: Rows, known: Directory) -> None:
    person = find_person(view, people, rows, st.query_params.get("person", ""))
    if person is None:  # closed meanwhile
        return
    st.html(HEADINGS)
    with st.container(key="person"):
        _record(view, person, people, rows, known)


def _record(view: View, person: Person, people: Everybody, rows: Rows, known: Directory) -> None:
    days = calendar(view.snapshot.mirror, person.selection)
    _head(view, person, people, rows, known)
    with st.grid(3, min_column_width=140):
        for card in _cards(view, person, days):
            show_card(card)
    _calendar(view, days)
    _breakdown(view, person, people, known)
    show_timeline(view, person.id, known.base_url)
    _export(view, person, days)


def _head(view: View, person: Person, people: Everybody, rows: Rows, known: Directory) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(key="person_name", width="content"):
            st.header(plain(person.name), width="content", anchor=False)
        if person.place is not None:
            with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", width="content", gap="small"):
                _step(people, rows, person.place - 1, "Previous", ":material/chevron_left:")
                st.markdown(quiet(f"{person.place + 1:,} of {len(rows):,}"), width="content")
                _step(people, rows, person.place + 1, "Next", ":material/chevron_right:")
    status = Status(person.row["status"])
    facts = [f"**{status.shape} {status.value}**", _last_active(person.row, view.filters.zone)]
    facts += [plain(str(person.row["email"]))] if person.row["email"] else []
    facts += [plain(", ".join(known.groups_of(person.id)))] if known.groups_of(person.id) else []
    st.markdown(" · ".join(facts))
    if person.place is None:
        st.markdown(quiet("Not in the list as it is filtered now."))


def _step(people: Everybody, rows: Rows, place: int, label: str, icon: str) -> None:
    is_there = 0 <= place < len(rows)
    account = str(people.table["account_id"].iloc[rows[place]]) if is_there else ""
    st.button(label, icon=icon, key=f"person.{label}", type="tertiary", disabled=not is_there, on_click=_go_to, args=(account,))


def _go_to(account: str) -> None:
    st.query_params["person"] = account


def _last_active(row: pd.Series, zone: str) -> str:
    if pd.isna(row["last_active_at"]):
        return "no activity recorded"
    days = int(row["days_since_last_active"])
    ago = {0: "today", 1: "yesterday"}.get(days, f"{days:,} days ago")
    source = f", as {row['last_source']} says" if row["last_source"] else ""
    return f"last active {ago} ({short_date(local_date(int(row['last_active_at']), zone))}{source})"


def _cards(view: View, person: Person, days: pd.DataFrame) -> list[Card]:
    now, words = view_kpis(days, view, view.filters.today), periods.comparison_words(view.filters.period)
    found: tuple[int | None, int | None, int | None] = (None, None, None)
    ranges = compared(view, (view.filters.first, view.filters.last))
    if ranges:
        after, before = (view_kpis(_calendar_of(view, person, *of), view, of[1]) for of in ranges)
        found = changes(view, after, before)
    share = f"{now.active_days / now.days * 100:.0f} % of the days" if now.days else "no day recorded"
    return [
        Card("Active Days", f"{now.active_days:,} of {now.days:,}", ACTIVE_DAYS_RULE, share, found[0], words),
        Card("Longest Streak", counted(now.longest_streak, "day"), LONGEST_STREAK_RULE, longest_note(now), found[1], words),
        Card("Current Streak", counted(now.current_streak, "day"), CURRENT_STREAK_RULE, current_note(now, view), found[2], words),
    ]


def _calendar_of(view: View, person: Person, first: date, last: date) -> pd.DataFrame:
    return calendar(view.snapshot.mirror, replace(person.selection, first=first, last=last))


def _calendar(view: View, days: pd.DataFrame) -> None:
    filters, colors = view.filters, view.colors
    of_color = levels(days.loc[days["day"] <= pd.Timestamp(filters.today), "events"].to_numpy())
    look = CalendarLook("events", of_color.starts, filters.today, view.recorded_from, None, filters.week_start, view.unknown)
    label = f"Calendar of this person's activity: {counted(int(days['events'].sum()), 'event')}"
    with st.container(border=True):
        st.header("Activity calendar", anchor=False)
        st.html(calendar_html(days, look, of_color, colors, label))


def _breakdown(view: View, person: Person, people: Everybody, known: Directory) -> None:
    now = breakdown(view.snapshot.mirror, person.selection)
    ranges = compared(view, (view.filters.first, view.filters.last))
    before = ranges[1] if ranges else None
    then = breakdown(view.snapshot.mirror, replace(person.selection, first=before[0], last=before[1])) if before else None
    median = group_median(person, people, known)
    with st.container(border=True):
        st.header("What this person does", anchor=False)
        st.html(breakdown_html(now, then, median, view.colors))
        st.markdown(quiet(_explained(before, median)))


def group_median(person: Person, people: Everybody, known: Directory) -> Median | None:
    """The median of the smallest group of this person that has at least five people; None if no group has."""
    belonging = known.memberships
    mine = belonging.loc[belonging["person_id"] == person.id, "group_id"]
    members = belonging[belonging["group_id"].isin(mine)].groupby("group_id")["person_id"]
    medians = [(group, found) for group, ids in members if (found := median_of(people.table, ids.to_numpy(dtype=np.int64))) is not None]
    if not medians:
        return None
    group, (count, median) = min(medians, key=lambda one: one[1][0])
    return Median(str(known.groups.loc[known.groups["id"] == group, "name"].iloc[0]), count, median)


def _explained(before: Period | None, median: Median | None) -> str:
    sentence = "There is no period before to compare with: it is not recorded in full."
    if before:
        sentence = f"Before: {date_range(*before)}; today, which is not over, has no counterpart there."
    if median:
        sentence += f" Median: of the {median.members:,} accounts in the group {plain(median.group)}, without apps and closed accounts."
    return sentence


def _export(view: View, person: Person, days: pd.DataFrame) -> None:
    heading = Heading(view.filters.first, view.filters.last, view.filters.zone, datetime.fromtimestamp(time.time(), UTC))
    account = str(person.row["account_id"])
    pseudonym = hashlib.sha256(account.encode("utf-8", "replace")).hexdigest()[:12]
    st.download_button(
        "Export this person by day (CSV)",
        data=lambda: with_mark(days_csv(days, heading, account_id=account)),
        file_name=person_file_name(pseudonym, heading),
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        key="person.export",
    )
