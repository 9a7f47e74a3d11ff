"""The list of people behind User Status: the table of everybody, what the filters leave of it, and its order.

    snapshot + directory -> `everybody` (remembered) -> `listed` (remembered, row numbers) -> the grid's page, the counts, the export

Only row numbers are kept per filter, so that 150,000 people stay cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from uar.report.memo import Memo
from uar.report.people import group_names, newest_first, people_table
from uar.report.status import Rules, Status
from uar.report.streaks import WorkingDays
from uar.store.database import StoreError, StoreUnavailable, read_transaction
from uar.store.reads import groups, memberships
from uar.store.sync_state import Attempt, attempts
from uar.ui import data
from uar.ui.frame import View
from uar.ui.people_filters import CLEAN_UP, DEFAULT_SORT, KINDS, NEVER, SEEN, STATUSES, PeopleFilters, Where

Rows = NDArray[np.int64]
DIRECTORY_FOR_S = 60
MOST_TABLES = 6  # a table of 150,000 people takes some 100 MB
TESTS: dict[str, Callable[[pd.Series, str], pd.Series]] = {
    "contains": lambda values, text: values.str.contains(text, regex=False),
    "equals": lambda values, text: values == text,
    "startsWith": lambda values, text: values.str.startswith(text),
}


@dataclass(frozen=True)
class Directory:
    """What the directory sync knows beside the people: groups (id, name), memberships (group_id, person_id), and how its last try ended.

    `version` changes whenever the content does; `base_url` is the site's address, if known.
    """

    groups: pd.DataFrame
    memberships: pd.DataFrame
    attempt: Attempt | None
    base_url: str | None
    version: int

    def members(self, names: frozenset[str]) -> Rows:
        """The ids of the people in any of these groups."""
        ids = self.groups.loc[self.groups["name"].isin(names), "id"]
        return self.memberships.loc[self.memberships["group_id"].isin(ids), "person_id"].to_numpy(dtype=np.int64)

    def groups_of(self, person: int) -> list[str]:
        """The names of one person's groups, in alphabetical order."""
        ids = self.memberships.loc[self.memberships["person_id"] == person, "group_id"]
        return sorted(self.groups.loc[self.groups["id"].isin(ids), "name"], key=str.casefold)


@dataclass(frozen=True)
class Everybody:
    """All accounts of the site. `table` as from `people_table`; `key` names it among the remembered ones."""

    table: pd.DataFrame
    rules: Rules
    key: tuple[object, ...]


@st.cache_resource(show_spinner=False, ttl=DIRECTORY_FOR_S)
def directory(site: str) -> Directory:
    """The site's directory, at most a minute old; raises `OutOfOrder`."""
    sites = data.sites()
    row = sites[sites["name"] == site].iloc[0]
    try:
        with read_transaction(data.store()) as connection:
            known, belonging = groups(connection, int(row["id"])), memberships(connection, int(row["id"]))
            tries = {attempt.site: attempt for attempt in attempts(connection)}
    except (StoreUnavailable, StoreError) as error:
        raise data.OutOfOrder(str(error)) from error
    mixed = int((belonging["group_id"].to_numpy(np.int64) * 1_000_003 ^ belonging["person_id"].to_numpy(np.int64)).sum())
    base_url = row["base_url"] if isinstance(row["base_url"], str) and row["base_url"].startswith(("https://", "http://")) else None
    return Directory(known, belonging, tries.get(site), base_url, hash((tuple(known["name"]), len(belonging), mixed)))


@st.cache_resource(show_spinner=False)
def _tables() -> Memo:
    return Memo(MOST_TABLES)


@st.cache_resource(show_spinner=False)
def _lists() -> Memo:
    return Memo(64)


def everybody(view: View, known: Directory) -> Everybody:
    """The table of all accounts for the view's period, types and spaces; made once for all viewers who ask the same."""
    filters, snapshot = view.filters, view.snapshot
    people = snapshot.people
    stamp = (len(people), int(people["synced_at"].sum()), int(people["atlassian_last_seen_at"].sum()), known.version)
    rules = Rules(filters.today, filters.zone, view.settings.status_days, snapshot.recorded_from_ms)
    key = (
        view.site, snapshot.version, stamp, rules,
        filters.of_period(), filters.is_working_days_only, view.unknown,
    )  # fmt: skip
    table = _tables().answer(key, lambda: _table(view, known, rules))
    return Everybody(table, rules, key)


def _table(view: View, known: Directory, rules: Rules) -> pd.DataFrame:
    return people_table(
        view.snapshot.mirror,
        view.snapshot.people,
        view.filters.of_period(),
        rules,
        groups=_lists().answer(("groups", known.version), lambda: group_names(known.groups, known.memberships)),
        working_days=WorkingDays() if view.filters.is_working_days_only else None,
        unknown=view.unknown,
    )


def listed(people: Everybody, filters: PeopleFilters, known: Directory) -> Rows:
    """The rows of the table that the filters leave, in the order asked for."""
    return _lists().answer((people.key, filters), lambda: _listed(people, filters, known))


def _listed(people: Everybody, filters: PeopleFilters, known: Directory) -> Rows:
    rows = np.flatnonzero(passing(people.table, filters, known))
    order = _lists().answer((people.key, "order", filters.sort), lambda: ordered(people.table, filters.sort))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return rows[np.argsort(place[rows], kind="stable")]


def counts(people: Everybody, filters: PeopleFilters, known: Directory) -> dict[str, int]:
    """People by status in the order of `STATUSES`, all filters but the one by status applied; statuses that nobody has are left out."""

    def count() -> dict[str, int]:
        found = people.table.loc[passing(people.table, filters, known, but_status=True), "status"].value_counts()
        return {status.value: int(found[status.value]) for status in STATUSES if found.get(status.value, 0)}

    return _lists().answer((people.key, "counts", filters), count)


def passing(table: pd.DataFrame, filters: PeopleFilters, known: Directory, but_status: bool = False) -> NDArray[np.bool_]:
    """Which rows pass every filter."""
    kept = np.ones(len(table), bool)
    if filters.search:
        text = filters.search.casefold()
        kept &= _holds(table["display_name"], text) | _holds(table["email"], text) | _holds(table["account_id"], text)
    if filters.statuses and not but_status:
        kept &= table["status"].isin(filters.statuses).to_numpy()
    if filters.groups:
        kept &= np.isin(table["id"].to_numpy(np.int64), known.members(filters.groups))
    if filters.kinds:
        kept &= table["kind"].isin([KINDS[kind] for kind in filters.kinds]).to_numpy()
    if filters.least:
        kept &= table["events"].to_numpy() >= filters.least
    kept &= _was_seen(table["days_since_last_active"], filters.seen)
    for where in filters.where:
        kept &= _meets(table, where)
    return kept


def _holds(values: pd.Series, text: str) -> NDArray[np.bool_]:
    return _folded(values).str.contains(text, regex=False).to_numpy(dtype=bool, na_value=False)


def _folded(values: pd.Series) -> pd.Series:
    return values.astype("str").fillna("").str.casefold()


def _was_seen(days: pd.Series, seen: str) -> NDArray[np.bool_]:
    if seen == NEVER:
        return days.isna().to_numpy(dtype=bool)
    low, high = SEEN[seen]
    if (low, high) == (0, None):
        return np.ones(len(days), bool)
    found = days >= low
    return (found if high is None else found & (days <= high)).to_numpy(dtype=bool, na_value=False)


def _meets(table: pd.DataFrame, where: Where) -> NDArray[np.bool_]:
    if where.comparison in TESTS and where.column in ("person", "status", "groups", "email"):
        values = table[{"person": "display_name"}.get(where.column, where.column)]
        return TESTS[where.comparison](_folded(values), where.value.casefold()).to_numpy(dtype=bool, na_value=False)
    numbers = table["days_since_last_active" if where.column == "days" else where.column]
    low, high = float(where.value), float(where.to or where.value)
    found = {
        "equals": lambda: numbers == low,
        "greaterThanOrEqual": lambda: numbers >= low,
        "lessThanOrEqual": lambda: numbers <= low,
        "inRange": lambda: (numbers >= low) & (numbers <= high),
    }[where.comparison]()
    return found.to_numpy(dtype=bool, na_value=False)


def ordered(table: pd.DataFrame, sort: tuple[str, str]) -> Rows:
    """All row numbers in an order: what is unknown comes last; equals keep the order of names."""
    if sort == DEFAULT_SORT:
        return newest_first(table)
    by_name = np.argsort(_folded(table["display_name"]).to_numpy(dtype=object), kind="stable")
    values, is_down = _sort_values(table.iloc[by_name], sort)
    if sort[0] == "person":
        return by_name if sort[1] == "asc" else by_name[::-1]
    keys = np.where(np.isnan(values), np.inf, -values if is_down else values)
    return by_name[np.argsort(keys, kind="stable")]


def _sort_values(table: pd.DataFrame, sort: tuple[str, str]) -> tuple[NDArray[np.float64], bool]:
    """A number per row, and whether large ones come first."""
    column, direction = sort
    if column == CLEAN_UP:
        return _clean_up(table), False
    if column == "days":  # by the instant, which is finer
        return _floats(table["last_active_at"]), direction == "asc"
    if column == "status":
        rank = {status.value: number for number, status in enumerate(STATUSES)}
        return _floats(table["status"].map(rank)), direction == "desc"
    if column in ("person", "groups", "email"):
        texts = _folded(table["display_name" if column == "person" else column])
        _, ranks = np.unique(texts.to_numpy(dtype=str), return_inverse=True)
        return np.where((texts == "").to_numpy(dtype=bool), np.nan, ranks.astype(np.float64)), direction == "desc"
    return _floats(table[column]), direction == "desc"


def _clean_up(table: pd.DataFrame) -> NDArray[np.float64]:
    """Never seen first, then everybody by the last activity, the longest ago first; accounts that cannot be cleaned up come last."""
    last = _floats(table["last_active_at"])
    status = table["status"]
    last = np.where((status == Status.NEVER_SEEN.value).to_numpy(dtype=bool), -1.0, last)
    is_out = status.isin([Status.DEACTIVATED.value, Status.APP.value]).to_numpy(dtype=bool)
    return np.where(is_out, np.nan, last)


def _floats(values: pd.Series) -> NDArray[np.float64]:
    return np.asarray(values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
