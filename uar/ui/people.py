"""The list of people behind User Status: the table of everybody, what the filters leave of it, and its order.

    snapshot + directory -> `everybody` (remembered) -> `listed` (remembered, row numbers) -> the grid's page, the counts, the export

Only row numbers are kept per filter, and what needs every name letter by letter (`Names`) as long as nobody is renamed, so that
150,000 people stay cheap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from uar.report.memo import Memo, Same
from uar.report.people import LINE_BLOCKS, LINE_DAYS, by_name, group_names, newest_first, people_table
from uar.report.status import Rules, Status
from uar.report.streaks import WorkingDays
from uar.store.database import StoreError, StoreUnavailable, read_transaction
from uar.store.reads import groups, memberships
from uar.store.sync_state import Attempt, attempts
from uar.ui import data
from uar.ui.frame import View
from uar.ui.people_filters import CLEAN_UP, DEFAULT_SORT, KINDS, NEVER, SEEN, STATUSES, TEXT_COLUMNS, PeopleFilters, Where

Rows = NDArray[np.int64]
DIRECTORY_FOR_S = 60.0
REST = 300  # times as long as it takes to read
MOST_TABLES = 6  # a table of 150,000 people takes some 100 MB
NAMED_BY = ("display_name", "email", "account_id")
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


class Names:
    """Who is who in a `people_table`: the rows in the order of names, and the text of each row that a search looks into."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.order: Rows = by_name(table)
        parts = (table[name].to_numpy(dtype=object) for name in NAMED_BY)
        self.texts = pd.Series(["\n".join(words).casefold() for words in zip(*parts, strict=True)], dtype="str")


@dataclass(frozen=True)
class Everybody:
    """All accounts of the site. `table` as from `people_table`; `key` names it among the remembered ones."""

    table: pd.DataFrame
    rules: Rules
    key: tuple[object, ...]
    names: Names


def directory(site: str) -> Directory:
    """The site's directory, about a minute old; raises `OutOfOrder`. One that is slow to read is read less often."""
    standing = _directories().get(site)
    if standing and time.monotonic() < standing[1]:
        return standing[0]
    start = time.monotonic()
    known = _read_directory(site)
    _directories()[site] = known, time.monotonic() + max(DIRECTORY_FOR_S, REST * (time.monotonic() - start))
    return known


@st.cache_resource(show_spinner=False)
def _directories() -> dict[str, tuple[Directory, float]]:
    """The last directory of each site, and until when it is good."""
    return {}


def _read_directory(site: str) -> Directory:
    sites = data.sites()
    named = sites[sites["name"] == site]
    if named.empty:
        raise data.OutOfOrder(f"The site {site} has another name by now. Reload this page.")
    row = named.iloc[0]
    try:
        with read_transaction(data.store()) as connection:
            known, belonging = groups(connection, int(row["id"])), memberships(connection, int(row["id"]))
            tries = {attempt.site: attempt for attempt in attempts(connection)}
    except (StoreUnavailable, StoreError) as error:
        raise data.OutOfOrder(str(error)) from error
    version = hash((tuple(known["id"]), tuple(known["name"]), belonging.to_numpy().tobytes()))
    base_url = row["base_url"] if isinstance(row["base_url"], str) else data.settings().confluence_urls.get(site, "")
    is_web = base_url.startswith(("https://", "http://"))
    return Directory(known, belonging, tries.get(site), base_url if is_web else None, version)


@st.cache_resource(show_spinner=False)
def _tables() -> Memo:
    return Memo(MOST_TABLES)


@st.cache_resource(show_spinner=False)
def _lists() -> Memo:
    return Memo(64)


def everybody(view: View, known: Directory) -> Everybody:
    """The table of all accounts for the view's period, types and spaces; made once for all viewers who ask the same."""
    filters, snapshot = view.filters, view.snapshot
    rules = Rules(filters.today, filters.zone, view.settings.status_days, snapshot.recorded_from_ms)
    key = (
        view.site, snapshot.version, Same(snapshot.people), known.version, rules,
        filters.of_period(), filters.is_working_days_only, view.unknown,
    )  # fmt: skip
    table, names = _tables().answer(key, lambda: _table(view, known, rules))
    return Everybody(table, rules, key, names)


def _table(view: View, known: Directory, rules: Rules) -> tuple[pd.DataFrame, Names]:
    table = people_table(
        view.snapshot.mirror,
        view.snapshot.people,
        view.filters.of_period(),
        rules,
        groups=_groups_of_all(known),
        working_days=WorkingDays() if view.filters.is_working_days_only else None,
        unknown=view.unknown,
    )
    written = tuple(hash("\n".join(table[name].to_numpy(dtype=object))) for name in NAMED_BY)
    return table, _lists().answer(("names", view.site, written), lambda: Names(table))


def _groups_of_all(known: Directory) -> pd.Series:
    return _lists().answer(("groups", known.version), lambda: group_names(known.groups, known.memberships))


def warm_up(site: str) -> None:
    """Make what the first visitor of the list would otherwise wait for; raises `OutOfOrder`."""
    _groups_of_all(directory(site))


def listed(people: Everybody, filters: PeopleFilters, known: Directory) -> Rows:
    """The rows of the table that the filters leave, in the order asked for."""
    return _lists().answer((people.key, filters), lambda: _listed(people, filters, known))


def _listed(people: Everybody, filters: PeopleFilters, known: Directory) -> Rows:
    rows = np.flatnonzero(_passing(people, filters, known) & _has_status(people.table, filters))
    order = _lists().answer((people.key, "order", filters.sort), lambda: ordered(people.table, filters.sort, people.names))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return rows[np.argsort(place[rows], kind="stable")]


def counts(people: Everybody, filters: PeopleFilters, known: Directory) -> dict[str, int]:
    """People by status in the order of `STATUSES`, all filters but the one by status applied; statuses that nobody has are left out."""

    def count() -> dict[str, int]:
        found = people.table.loc[_passing(people, filters, known), "status"].value_counts()
        return {status.value: int(found[status.value]) for status in STATUSES if found.get(status.value, 0)}

    return _lists().answer((people.key, "counts", filters), count)


def _passing(people: Everybody, filters: PeopleFilters, known: Directory) -> NDArray[np.bool_]:
    asked = replace(filters, statuses=frozenset(), sort=DEFAULT_SORT)  # what a pill or another order does not change
    return _lists().answer((people.key, "passing", asked), lambda: passing(people.table, filters, known, people.names))


def _has_status(table: pd.DataFrame, filters: PeopleFilters) -> NDArray[np.bool_]:
    return table["status"].isin(filters.statuses).to_numpy() if filters.statuses else np.ones(len(table), bool)


def passing(table: pd.DataFrame, filters: PeopleFilters, known: Directory, names: Names) -> NDArray[np.bool_]:
    """Which rows pass every filter but the one by status."""
    kept = np.ones(len(table), bool)
    if filters.search:
        kept &= names.texts.str.contains(filters.search.casefold(), regex=False).to_numpy(dtype=bool)
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
    if where.comparison in TESTS and where.column in TEXT_COLUMNS:
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


def ordered(table: pd.DataFrame, sort: tuple[str, str], names: Names) -> Rows:
    """All row numbers in an order: what is unknown comes last; equals keep the order of names."""
    if sort == DEFAULT_SORT:
        return newest_first(table, names.order)
    if sort[0] == "person":
        return names.order if sort[1] == "asc" else names.order[::-1]
    values, is_down = _sort_values(table, sort)
    keys = np.where(np.isnan(values), np.inf, -values if is_down else values)[names.order]
    return names.order[np.argsort(keys, kind="stable")]


def _sort_values(table: pd.DataFrame, sort: tuple[str, str]) -> tuple[NDArray[np.float64], bool]:
    """A number per row, and whether large ones come first."""
    column, direction = sort
    if column == CLEAN_UP:
        return _clean_up(table), False
    if column == "days":  # by the instant, which is finer
        return _floats(table["last_active_at"]), direction == "asc"
    if column == "line":
        return _days_in(table["line"]), direction == "desc"
    if column == "status":
        rank = {status.value: number for number, status in enumerate(STATUSES)}
        return _floats(table["status"].map(rank)), direction == "desc"
    if column in TEXT_COLUMNS:
        texts = _folded(table[column])
        ranks, _ = pd.factorize(texts, sort=True)
        return np.where((texts == "").to_numpy(dtype=bool), np.nan, ranks.astype(np.float64)), direction == "desc"
    return _floats(table[column]), direction == "desc"


def _days_in(lines: pd.Series) -> NDArray[np.float64]:
    """On how many days of its line somebody was active."""
    days = lines.to_numpy(dtype=f"<U{LINE_DAYS}").view("<U1").reshape(len(lines), LINE_DAYS)
    active: NDArray[np.float64] = ((days != LINE_BLOCKS[0]) & (days != "")).sum(axis=1, dtype=np.float64)
    return active


def _clean_up(table: pd.DataFrame) -> NDArray[np.float64]:
    """Never seen first, then everybody by the last activity, the longest ago first; accounts that cannot be cleaned up come last."""
    last = _floats(table["last_active_at"])
    status = table["status"]
    last = np.where((status == Status.NEVER_SEEN.value).to_numpy(dtype=bool), -1.0, last)
    is_out = status.isin([Status.DEACTIVATED.value, Status.APP.value]).to_numpy(dtype=bool)
    return np.where(is_out, np.nan, last)


def _floats(values: pd.Series) -> NDArray[np.float64]:
    return np.asarray(values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
