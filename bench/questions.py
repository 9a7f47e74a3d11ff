"""The questions, once for our functions and once as the same SQL for every engine (only the expression of the local day differs)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from uar.activity import DAY_MS, ActivityType
from uar.report.breakdown import breakdown
from uar.report.days import calendar
from uar.report.mirror import Codes, Mirror
from uar.report.people import people_table
from uar.report.selection import Selection
from uar.report.status import Rules
from uar.report.zones import day_number

Row = tuple[int, ...]
COLUMNS = ["active_days", "longest_streak", "current_streak", "events", *(kind.key for kind in ActivityType)]

TYPE_COUNTS = ", ".join(f"count(*) FILTER (WHERE type = {kind.value})" for kind in ActivityType)


@dataclass(frozen=True)
class Question:
    """What to ask: `rows` makes of our answer what `sql`, with {day} and {table} to be filled in, gives: rows of whole numbers."""

    name: str
    ours: Callable[[Mirror, Selection], pd.DataFrame]
    rows: Callable[[pd.DataFrame], list[Row]]
    sql: Callable[[Selection], str]


def _where(selection: Selection) -> str:
    terms = [f"{{day}} BETWEEN {day_number(selection.first)} AND {day_number(selection.last)}"]
    if selection.left_out:
        terms.append(f"person NOT IN ({_listed(selection.left_out)})")
    if selection.spaces is not None:
        terms.append(f"space IN ({_listed(selection.spaces)})")
    if selection.types != frozenset(ActivityType):
        terms.append(f"type IN ({_listed(selection.types)})")
    return " AND ".join(terms)


def _listed(ids: frozenset[int] | frozenset[ActivityType]) -> str:
    return ", ".join(str(int(one)) for one in sorted(ids))


def calendar_rows(frame: pd.DataFrame) -> list[Row]:
    """(day, events, people, ten types) of every day with events."""
    frame = frame.assign(day=frame["day"].astype("datetime64[s]").astype("int64") // 86_400)
    return [tuple(row) for row in frame[frame["events"] > 0].to_numpy().tolist()]


def calendar_sql(selection: Selection) -> str:
    """The calendar."""
    people = "count(DISTINCT person) FILTER (WHERE person <> 0)"
    return f"SELECT {{day}} AS d, count(*), {people}, {TYPE_COUNTS} FROM {{table}} WHERE {_where(selection)} GROUP BY 1 ORDER BY 1"


def breakdown_rows(frame: pd.DataFrame) -> list[Row]:
    """(type, events, people) of every type with events."""
    rows = zip(range(len(frame)), frame["events"].tolist(), frame["people"].tolist(), strict=True)
    return [row for row in rows if row[1]]


def breakdown_sql(selection: Selection) -> str:
    """The breakdown."""
    people = "count(DISTINCT person) FILTER (WHERE person <> 0)"
    return f"SELECT type, count(*), {people} FROM {{table}} WHERE {_where(selection)} GROUP BY 1 ORDER BY 1"


def people_with_streaks(mirror: Mirror, selection: Selection) -> pd.DataFrame:
    """The whole list of people as the page shows it: who they are, status, active days, streaks, events, the ten types, the 30-day line."""
    accounts, groups = directory(mirror.people)
    recorded_from = day_number(selection.first) * DAY_MS
    return people_table(mirror, accounts, selection, Rules(selection.last, selection.zone, recorded_from=recorded_from), groups=groups)


@lru_cache(maxsize=1)
def directory(people: Codes) -> tuple[pd.DataFrame, pd.Series]:
    """What a directory sync knows of these people (the store's columns), and their groups."""
    ids = people.sorted_ids.astype(np.int64)
    texts = {
        "account_id": [f"account-{n}" for n in ids],
        "display_name": [f"Zoë Müller {n}" for n in ids],
        "kind": "person",
        "state": "active",
    }
    accounts = pd.DataFrame({"id": ids} | texts | {"email": [f"person{n}@example.org" for n in ids]})
    for number, name in enumerate(("created_at", "first_seen_at", "first_active_at", "last_active_at")):
        accounts[name] = pd.array(1_750_000_000_000 + ids * 1_000 + number * 60 * DAY_MS, dtype="Int64")
    accounts = accounts.assign(atlassian_last_seen_at=pd.array([None] * len(ids), dtype="Int64"), last_type=0)
    return accounts, pd.Series([f"confluence-users; team-{n % 60}" for n in ids], index=pd.Index(ids, name="id"))


def people_rows(frame: pd.DataFrame) -> list[Row]:
    """The rows of everybody with events."""
    active = frame[frame["events"] > 0]
    return [tuple(row) for row in active[["id", *COLUMNS]].to_numpy().tolist()]


def people_sql(selection: Selection) -> str:
    """The table of people with their streaks: runs of days keep the difference between day and row number."""
    where, yesterday = _where(selection), day_number(selection.last) - 1
    return f"""
        WITH days AS (SELECT DISTINCT person, {{day}} AS d FROM {{table}} WHERE {where} AND person <> 0),
        places AS (SELECT person, d, d - row_number() OVER (PARTITION BY person ORDER BY d) AS island FROM days),
        runs AS (SELECT person, island, count(*) AS length, max(d) AS ended FROM places GROUP BY person, island),
        streaks AS (
            SELECT person, sum(length) AS active_days, max(length) AS longest,
                max(CASE WHEN ended >= {yesterday} THEN length ELSE 0 END) AS current_streak
            FROM runs GROUP BY person
        ),
        counts AS (SELECT person, count(*) AS events, {TYPE_COUNTS_NAMED} FROM {{table}} WHERE {where} AND person <> 0 GROUP BY person)
        SELECT counts.person, active_days, longest, current_streak, events, {TYPE_NAMES}
        FROM counts JOIN streaks ON counts.person = streaks.person ORDER BY 1"""


TYPE_NAMES = ", ".join(f"n{kind.value}" for kind in ActivityType)
TYPE_COUNTS_NAMED = ", ".join(f"count(*) FILTER (WHERE type = {kind.value}) AS n{kind.value}" for kind in ActivityType)

QUESTIONS = (
    Question("calendar", calendar, calendar_rows, calendar_sql),
    Question("breakdown", breakdown, breakdown_rows, breakdown_sql),
    Question("people table with streaks", people_with_streaks, people_rows, people_sql),
)
