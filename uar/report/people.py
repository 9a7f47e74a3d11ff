"""Everybody on one list: what each person did in the chosen days, and what can be said about somebody who did nothing.

    people (the directory) ─▶ status_of ─┐
    mirror ─▶ seen, events_by_person ────┴▶ people_table ─▶ page, CSV, `python -m uar report users`

No number here ranks anybody: the table comes in the order of ids.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from uar.activity import ActivityType
from uar.report.blocks import QUARTERS_PER_BLOCK, TYPES, Int64
from uar.report.counting import UNKNOWN_PERSON, chosen_types, counted_people, day_groups, days_in_range, events_by_person, seen
from uar.report.memo import Same
from uar.report.mirror import Mirror
from uar.report.selection import Selection
from uar.report.status import Rules, Status, status_of
from uar.report.streaks import PersonStreaks, WorkingDays, person_streaks, skipped_days
from uar.report.walk import blocks_in_range
from uar.report.zones import day_number

TYPE_COLUMNS = tuple(kind.key for kind in ActivityType)
COUNT_COLUMNS = ("active_days", "longest_streak", "current_streak", "events", *TYPE_COLUMNS)
COLUMNS = (
    "id", "account_id", "display_name", "email", "kind", "state", "groups", "status", "days_since_last_active", "first_active_at",
    "last_active_at", "last_source", "last_type", *COUNT_COLUMNS, "line",
)  # fmt: skip
TEXT_COLUMNS = ("account_id", "display_name", "email", "kind", "state")
LINE_DAYS = 30
LINE_STARTS = (1, 2, 5, 10)  # the fixed steps of the calendar's levels: the same height means the same number on every line
# By the number of events, the last one for all larger numbers.
LINE_BLOCKS = np.array(list("▁▂▃▅▇"))[np.searchsorted(LINE_STARTS, range(LINE_STARTS[-1] + 1), side="right")]
QUIET_LINE = "▁" * LINE_DAYS
CHUNK = 1_000_000  # rows at a time: what is computed on the way takes some ten bytes a row
SMALLEST_GROUP = 5  # a median of fewer people would tell what one of them did


def people_table(
    mirror: Mirror,
    people: pd.DataFrame,
    selection: Selection,
    rules: Rules,
    *,
    groups: pd.Series | None = None,
    working_days: WorkingDays | None = None,
    unknown: frozenset[date] = frozenset(),
) -> pd.DataFrame:
    """One row per account of `people` (the store's table; it holds everybody the mirror knows), without the unknown person, by id.

    Columns `COLUMNS`: id int64; account_id, display_name, email, kind, state, groups, status str ('' where nothing is known);
    days_since_last_active, first_active_at, last_active_at Int64 (instants in epoch milliseconds, of all time and any type);
    last_source str ('Atlassian' if its date is newer than ours); last_type str (a type's key); active_days, longest_streak,
    current_streak, events and the ten types int64, of the selection; line str (`last_days`). `groups` is what `group_names` gives.
    People that `selection.people` does not name have no row; those it leaves out (apps) have one with their own numbers, which count
    nowhere else. `unknown` are the days with a gap in recording, which streaks bridge.
    """
    selection = replace(selection, left_out=frozenset())
    question = ("people table", selection, rules, working_days, unknown, Same(people), Same(groups))
    return mirror.tables.answer(question, lambda: _table(mirror, people, selection, rules, groups, working_days, unknown)).copy(deep=False)


def _table(
    mirror: Mirror,
    people: pd.DataFrame,
    selection: Selection,
    rules: Rules,
    groups: pd.Series | None,
    working_days: WorkingDays | None,
    unknown: frozenset[date],
) -> pd.DataFrame:
    listed = people[people["id"] != UNKNOWN_PERSON]
    if selection.people is not None:
        listed = listed[listed["id"].isin(selection.people)]
    listed = listed.set_index("id").sort_index()
    texts = {name: listed[name].astype("str").fillna("") for name in TEXT_COLUMNS}
    in_groups = pd.Series("", index=listed.index) if groups is None else groups.reindex(listed.index).fillna("")
    facts = {
        "groups": in_groups,
        "first_active_at": listed["first_active_at"].astype("Int64"),
        "last_type": _type_keys(listed["last_type"]),
    }
    status = status_of(listed, rules)
    counts = counts_by_person(mirror, selection, rules.today, working_days, unknown).reindex(listed.index, fill_value=0)
    line = last_days(mirror, selection, rules.today).reindex(listed.index, fill_value=QUIET_LINE)
    table = pd.concat([pd.DataFrame(texts | facts, index=listed.index), status, counts, line], axis=1)
    return table.reset_index(names="id")[list(COLUMNS)]


def by_name(table: pd.DataFrame) -> Int64:
    """The rows of a `people_table` in the order of names, small letters like large ones."""
    names = [name.casefold() for name in table["display_name"].to_numpy(dtype=object)]
    return np.argsort(np.array(names, dtype=object), kind="stable")


def newest_first(table: pd.DataFrame, named: Int64 | None = None) -> Int64:
    """The rows of a `people_table` in the order of the page: the last active first, equals by name, who never came last.

    `named` is what `by_name` gives, if it is known already.
    """
    named = by_name(table) if named is None else named
    instants = table["last_active_at"].to_numpy(dtype=np.float64, na_value=-1.0)
    return named[np.argsort(-instants[named], kind="stable")]


def counts_by_person(
    mirror: Mirror,
    selection: Selection,
    today: date,
    working_days: WorkingDays | None = None,
    unknown: frozenset[date] = frozenset(),
) -> pd.DataFrame:
    """What everybody whom the mirror knows did in the selection. Index: person id, ascending. Columns `COUNT_COLUMNS`, all int64.

    The sums of the events and type columns are those of the calendar, less what the unknown person did.
    """
    question = ("people", selection, today, working_days, unknown)
    return mirror.tables.answer(question, lambda: _counts(mirror, selection, today, working_days, unknown)).copy(deep=False)


def _counts(mirror: Mirror, selection: Selection, today: date, working_days: WorkingDays | None, unknown: frozenset[date]) -> pd.DataFrame:
    order = mirror.people.order[counted_people(mirror, selection)[mirror.people.order]]
    streaks = _streaks(mirror, selection, today, working_days, unknown)
    events = events_by_person(mirror, selection)[order]
    columns = {
        "active_days": streaks.active_days[order],
        "longest_streak": streaks.longest[order],
        "current_streak": streaks.current[order],
        "events": events.sum(axis=1),
    }
    by_type = {kind.key: events[:, kind] for kind in ActivityType}
    return pd.DataFrame(columns | by_type, index=pd.Index(mirror.people.ids[order].astype(np.int64), name="id"))


def _streaks(
    mirror: Mirror, selection: Selection, today: date, working_days: WorkingDays | None, unknown: frozenset[date]
) -> PersonStreaks:
    """By the codes of the mirror's people."""
    first = day_number(selection.first)
    length = max(days_in_range(selection), day_number(today) - first + 1)
    skipped = skipped_days(first, length, working_days, unknown)
    active = seen(mirror, selection, days_in_range(selection), day_groups(selection))
    return person_streaks(active, first=selection.first, today=today, skipped=skipped)


def _type_keys(codes: pd.Series) -> NDArray[np.object_]:
    keys = np.array([*TYPE_COLUMNS, ""], dtype=object)
    return keys[pd.to_numeric(codes).astype("Int64").fillna(-1).to_numpy(dtype=np.int64)]


def group_names(groups: pd.DataFrame, memberships: pd.DataFrame, separator: str = "; ") -> pd.Series:
    """The names of each person's groups in one text, in alphabetical order. Index: person id, ascending; only members of something."""
    in_order = groups.sort_values("name", kind="stable")
    place = pd.Index(in_order["id"]).get_indexer(memberships["group_id"])
    person = memberships["person_id"].to_numpy(dtype=np.int64)
    order = np.lexsort((place, person))
    order = order[place[order] >= 0]
    names, person = in_order["name"].to_numpy(dtype=object)[place[order]].tolist(), person[order]
    edges = np.flatnonzero(np.diff(person, prepend=-1, append=-1))  # where each person begins, and the end
    texts = [separator.join(names[start:end]) for start, end in pairwise(edges)]
    return pd.Series(texts, index=pd.Index(person[edges[:-1]], name="person_id"), name="groups", dtype="str")


def last_days(mirror: Mirror, selection: Selection, today: date) -> pd.Series:
    """The last 30 days of everybody whom the mirror knows as a line of 30 block characters, oldest first. Index: person id, ascending.

    ▁ none, ▂ 1, ▃ 2–4, ▅ 5–9, ▇ 10 and more events of the selected types and spaces; days before and after the period count too.
    """
    recent = replace(selection, first=today - timedelta(days=LINE_DAYS - 1), last=today)
    blocks = LINE_BLOCKS.take(events_by_day(mirror, recent), mode="clip")
    lines = np.ascontiguousarray(blocks[mirror.people.order]).view(f"<U{LINE_DAYS}").ravel()
    return pd.Series(lines.astype(object), index=pd.Index(mirror.people.sorted_ids.astype(np.int64), name="id"), name="line")


def events_by_day(mirror: Mirror, selection: Selection) -> Int64:
    """Events of everybody on each day of the range: int64 [people by code, days]. A cell for each: for a month, not for years."""
    days, groups, width = days_in_range(selection), day_groups(selection), days_in_range(selection) + 1
    found = np.zeros(len(mirror.people) * width, dtype=np.int64)  # the last column takes what is in no day
    chosen, in_spaces = np.tile(chosen_types(selection), QUARTERS_PER_BLOCK), _space_table(mirror, selection)
    for block in blocks_in_range(mirror, selection):
        day = np.repeat(groups(block.number), TYPES)
        column = np.where(chosen & (day >= 0), day, days)
        for start in range(0, len(block), CHUNK):
            part = slice(start, start + CHUNK)
            place = column.take(block.slot[part]) + block.person[part].astype(np.int64) * width
            weight = block.count[part].astype(np.int64)  # of the same type as the sums, else adding takes twenty times as long
            np.add.at(found, place, weight if in_spaces is None else weight * in_spaces.take(block.space[part]))
    return found.reshape(-1, width)[:, :days] * counted_people(mirror, selection)[:, None]


def _space_table(mirror: Mirror, selection: Selection) -> NDArray[np.bool_] | None:
    """Per space code: whether it is selected; None if all are."""
    if selection.spaces is None:
        return None
    table = np.zeros(len(mirror.spaces), dtype=bool)
    table[mirror.spaces.among(selection.spaces)] = True
    return table


def median_of(table: pd.DataFrame, members: NDArray[np.int64]) -> tuple[int, pd.Series] | None:
    """The median of each count over those rows of a `people_table` whose ids are `members`, and of how many; None for fewer than five.

    Index `COUNT_COLUMNS`, float64. Apps and deactivated accounts are no members here.
    """
    group = table[table["id"].isin(members) & ~table["status"].isin([Status.APP.value, Status.DEACTIVATED.value])]
    return None if len(group) < SMALLEST_GROUP else (len(group), group[list(COUNT_COLUMNS)].median())
