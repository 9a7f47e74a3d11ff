"""The people table, compared with a recount in plain Python."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uar.activity import ActivityType
from uar.report.days import calendar
from uar.report.mirror import Mirror
from uar.report.people import COLUMNS, COUNT_COLUMNS, group_names, last_days, median_of, people_table
from uar.report.selection import Selection
from uar.report.status import Rules
from uar.report.streaks import WorkingDays

TODAY = date(2026, 3, 31)
FIRST = date(2026, 3, 1)
QUARTER_MS = 900_000
START = int(datetime(2026, 2, 20, tzinfo=ZoneInfo("UTC")).timestamp() * 1000) // QUARTER_MS
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati")

Act = tuple[int, int, int, int]  # person, quarters after START, type, space
ACTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 42 * 96), st.integers(0, 9), st.integers(0, 2)), max_size=120)


def mirror_of(acts: list[Act]) -> Mirror:
    columns = np.array(acts, dtype=np.int64).reshape(-1, 4).T
    return Mirror.of(
        *(columns[0].astype(np.int32), (columns[1] + START).astype(np.int32), columns[2].astype(np.int8), columns[3].astype(np.int32))
    )


def directory(*ids: int) -> pd.DataFrame:
    """People as the store hands them over, in no order."""
    count = len(ids)
    frame = {
        "id": pd.Series(ids, dtype="int64"),
        "account_id": pd.Series([f"account-{one}" for one in ids], dtype="str"),
        "display_name": pd.Series([f"Person {one}" if one else None for one in ids], dtype="str"),
        "email": pd.Series([None] * count, dtype="str"),
        "kind": pd.Series(["person"] * count, dtype="str"),
        "state": pd.Series(["active"] * count, dtype="str"),
        "first_seen_at": pd.Series([START * QUARTER_MS] * count, dtype="int64"),
    }
    blank = ("created_at", "first_active_at", "last_active_at", "last_type", "atlassian_last_seen_at")
    return pd.DataFrame(frame | {name: pd.Series([None] * count, dtype="Int64") for name in blank})


def chosen(acts: list[Act], selection: Selection) -> list[tuple[int, date, int]]:
    """Person, local day and type of what the selection counts."""
    found = []
    for person, quarter, kind, space in acts:
        day = datetime.fromtimestamp((START + quarter) * 900, ZoneInfo(selection.zone)).date()
        counts = selection.first <= day <= selection.last and kind in selection.types
        counts &= selection.spaces is None or space in selection.spaces
        counts &= selection.people is None or person in selection.people
        if counts and person:
            found.append((person, day, kind))
    return found


def streaks(days: set[date], off_weekend: bool) -> tuple[int, int]:
    """Longest and current streak, day by day."""
    run = longest = 0
    current = before_today = 0
    day = FIRST
    while day <= TODAY:
        is_off = off_weekend and day.weekday() >= 5
        before_today = run if day == TODAY else before_today
        run = run + 1 if day in days else run if is_off else 0
        longest = max(longest, run)
        current = run
        day += timedelta(days=1)
    return longest, current if TODAY in days else before_today


@settings(deadline=None)
@given(
    acts=ACTS,
    zone=st.sampled_from(ZONES),
    types=st.sets(st.sampled_from(list(ActivityType)), min_size=1),
    spaces=st.none() | st.sets(st.integers(0, 2), min_size=1),
    left_out=st.sets(st.integers(1, 4), max_size=2),
    is_working_days=st.booleans(),
)
def test_every_number_is_that_of_a_recount(
    acts: list[Act], zone: str, types: set[ActivityType], spaces: set[int] | None, left_out: set[int], is_working_days: bool
) -> None:
    selection = Selection(
        FIRST, TODAY, zone, types=frozenset(types), spaces=None if spaces is None else frozenset(spaces), left_out=frozenset(left_out)
    )
    working_days = WorkingDays() if is_working_days else None
    table = people_table(mirror_of(acts), directory(4, 2, 0, 1, 3, 9), selection, Rules(TODAY, zone), working_days=working_days)
    by_person: dict[int, list[tuple[date, int]]] = defaultdict(list)
    for person, day, kind in chosen(acts, selection):
        by_person[person].append((day, kind))
    assert table["id"].tolist() == [1, 2, 3, 4, 9]
    for row in table.to_dict("records"):
        mine = by_person[row["id"]]
        days = {day for day, _ in mine}
        longest, current = streaks(days, is_working_days)
        assert (row["active_days"], row["longest_streak"], row["current_streak"]) == (len(days), longest, current)
        assert row["events"] == len(mine)
        assert [row[kind.key] for kind in ActivityType] == [sum(one == kind for _, one in mine) for kind in ActivityType]


@settings(deadline=None)
@given(acts=ACTS, zone=st.sampled_from(ZONES))
def test_people_add_up_to_the_calendar_less_the_unknown_person(acts: list[Act], zone: str) -> None:
    mirror, selection = mirror_of(acts), Selection(FIRST, TODAY, zone)
    table = people_table(mirror, directory(0, 1, 2, 3, 4), selection, Rules(TODAY, zone))
    of_nobody = calendar(mirror, Selection(FIRST, TODAY, zone, people=frozenset({0})))
    everything = calendar(mirror, selection)
    names = ["events", *(kind.key for kind in ActivityType)]
    assert table[names].sum().tolist() == (everything[names].sum() - of_nobody[names].sum()).tolist()
    assert table["active_days"].sum() == everything["people"].sum()


@settings(deadline=None)
@given(acts=ACTS, zone=st.sampled_from(ZONES), spaces=st.none() | st.sets(st.integers(0, 2), min_size=1))
def test_the_line_has_the_steps_of_the_last_thirty_days(acts: list[Act], zone: str, spaces: set[int] | None) -> None:
    chosen_spaces = None if spaces is None else frozenset(spaces)
    # The period is one day; the line shows thirty all the same.
    lines = last_days(mirror_of(acts), Selection(TODAY, TODAY, zone, spaces=chosen_spaces), TODAY)
    days = [TODAY - timedelta(days=29 - place) for place in range(30)]
    found = chosen(acts, Selection(days[0], TODAY, zone, spaces=chosen_spaces))
    for person, line in lines.drop(0, errors="ignore").items():
        numbers = [sum((who, when) == (person, day) for who, when, _ in found) for day in days]
        steps = "".join(
            "▁" if not number else "▂" if number < 2 else "▃" if number < 5 else "▅" if number < 10 else "▇" for number in numbers
        )
        assert line == steps


def test_a_busy_day_is_the_highest_block() -> None:
    lines = last_days(mirror_of([(1, 39 * 96 + 40, 0, 1)] * 10), Selection(FIRST, TODAY, "UTC"), TODAY)
    assert lines[1] == "▁" * 29 + "▇"


def test_who_never_came_has_a_row_of_zeros() -> None:
    people = directory(1)
    table = people_table(Mirror.empty(), people, Selection(FIRST, TODAY, "UTC"), Rules(TODAY, "UTC"))
    assert table.columns.tolist() == list(COLUMNS)
    row = table.iloc[0]
    assert row[list(COUNT_COLUMNS)].tolist() == [0] * len(COUNT_COLUMNS)
    assert (row["account_id"], row["display_name"], row["email"], row["line"]) == ("account-1", "Person 1", "", "▁" * 30)
    assert (row["status"], row["last_type"]) == ("Not enough history", "")


def test_the_table_of_nobody_has_its_columns_and_types() -> None:
    table = people_table(Mirror.empty(), directory(), Selection(FIRST, TODAY, "UTC"), Rules(TODAY, "UTC"))
    assert len(table) == 0
    assert table.columns.tolist() == list(COLUMNS)
    assert {str(table[name].dtype) for name in COUNT_COLUMNS} == {"int64"}
    assert {str(table[name].dtype) for name in ("days_since_last_active", "first_active_at", "last_active_at")} == {"Int64"}


def test_only_the_people_asked_for_are_listed() -> None:
    selection = Selection(FIRST, TODAY, "UTC", people=frozenset({2, 3}))
    table = people_table(mirror_of([(2, 96 * 20, 0, 1), (1, 96 * 20, 0, 1)]), directory(1, 2, 3), selection, Rules(TODAY, "UTC"))
    assert table["id"].tolist() == [2, 3]
    assert table["events"].tolist() == [1, 0]


def test_the_last_type_is_its_word() -> None:
    people = directory(1, 2)
    people["last_type"] = pd.Series([4, None], dtype="Int64")
    table = people_table(Mirror.empty(), people, Selection(FIRST, TODAY, "UTC"), Rules(TODAY, "UTC"))
    assert table["last_type"].tolist() == ["comment", ""]


def test_groups_are_listed_by_name() -> None:
    groups = pd.DataFrame({"id": [1, 2], "name": ["zebras", "Ants"]})
    memberships = pd.DataFrame({"group_id": [1, 2, 1], "person_id": [7, 7, 8]})
    names = group_names(groups, memberships)
    assert names.to_dict() == {7: "Ants; zebras", 8: "zebras"}
    table = people_table(Mirror.empty(), directory(8, 9), Selection(FIRST, TODAY, "UTC"), Rules(TODAY, "UTC"), groups=names)
    assert table["groups"].tolist() == ["zebras", ""]


def test_without_groups_there_are_no_names() -> None:
    nothing = group_names(pd.DataFrame({"id": [], "name": []}), pd.DataFrame({"group_id": [], "person_id": []}))
    assert nothing.to_dict() == {}


def test_an_answer_is_kept_for_the_same_people_only() -> None:
    mirror, people = mirror_of([(1, 96 * 20, 0, 1)]), directory(1, 2)
    selection, rules = Selection(FIRST, TODAY, "UTC"), Rules(TODAY, "UTC")
    first = people_table(mirror, people, selection, rules)
    first["::auto_unique_id::"] = 0  # what a grid does to a frame must not reach the next viewer
    again = people_table(mirror, people, selection, rules)
    assert again.columns.tolist() == list(COLUMNS)
    assert people_table(mirror, directory(2), selection, rules)["id"].tolist() == [2]


def days_of_march(*days: int) -> Mirror:
    """Person 1 viewed a page at noon of these days of March 2026; the 28th was a Saturday."""
    noons = [(date(2026, 3, day) - date(2026, 2, 20)).days * 96 + 48 for day in days]
    return mirror_of([(1, noon, 0, 1) for noon in noons])


def test_a_quiet_weekend_is_bridged_with_working_days_only() -> None:
    mirror, people, selection = days_of_march(26, 27, 30, 31), directory(1), Selection(FIRST, TODAY, "UTC")
    found = [
        people_table(mirror, people, selection, Rules(TODAY, "UTC"), working_days=working_days).iloc[0]
        for working_days in (None, WorkingDays(), None)
    ]
    assert [(row["active_days"], row["longest_streak"], row["current_streak"]) for row in found] == [(4, 2, 2), (4, 4, 4), (4, 2, 2)]


def test_a_quiet_day_with_a_gap_in_recording_is_bridged() -> None:
    mirror, people, selection = days_of_march(27, 28, 30, 31), directory(1), Selection(FIRST, TODAY, "UTC")
    found = [
        people_table(mirror, people, selection, Rules(TODAY, "UTC"), unknown=unknown).iloc[0]
        for unknown in (frozenset[date](), frozenset({date(2026, 3, 29)}))
    ]
    assert [(row["active_days"], row["longest_streak"], row["current_streak"]) for row in found] == [(4, 2, 2), (4, 4, 4)]


def test_new_groups_show_at_once() -> None:
    mirror, people, selection = days_of_march(31), directory(1), Selection(FIRST, TODAY, "UTC")
    found = [
        people_table(mirror, people, selection, Rules(TODAY, "UTC"), groups=groups)["groups"].tolist()
        for groups in (None, pd.Series({1: "Ants"}), pd.Series({1: "Ants; zebras"}))
    ]
    assert found == [[""], ["Ants"], ["Ants; zebras"]]


@pytest.mark.parametrize(("members", "expected"), [(range(1, 6), 3.0), (range(1, 5), None)])
def test_a_median_needs_five_people(members: range, expected: float | None) -> None:
    acts = [(person, 96 * 20, 0, 1) for person in range(1, 6) for _ in range(person)]
    table = people_table(mirror_of(acts), directory(1, 2, 3, 4, 5), Selection(FIRST, TODAY, "UTC"), Rules(TODAY, "UTC"))
    found = median_of(table, np.array(members))
    assert found == expected if found is None else (found[0], found[1]["events"]) == (5, expected)


def test_apps_and_deactivated_accounts_do_not_make_a_group_large_enough() -> None:
    people = directory(1, 2, 3, 4, 5)
    people.loc[4, "kind"] = "app"
    table = people_table(Mirror.empty(), people, Selection(FIRST, TODAY, "UTC"), Rules(TODAY, "UTC"))
    assert median_of(table, np.arange(1, 6)) is None
