"""The calendar against the naive recount, and the days on which clocks misbehave."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from tests.report.recount import Act, counted, mirror_of, naive_calendar
from tests.report.strategies import questions
from uar.activity import ActivityType
from uar.report.counting import counted_people, day_groups, days_in_range, events_by_person, seen
from uar.report.days import calendar
from uar.report.mirror import Mirror
from uar.report.selection import Selection

DTYPES = {"day": "datetime64[s]", "events": "int64", "people": "int64"} | {kind.key: "int64" for kind in ActivityType}


def rows(frame: pd.DataFrame) -> list[tuple[date, int, int, list[int]]]:
    kinds = [kind.key for kind in ActivityType]
    return [(row["day"].date(), row["events"], row["people"], [row[key] for key in kinds]) for row in frame.to_dict("records")]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@given(questions())
@settings(max_examples=400, deadline=None)
def test_the_calendar_equals_a_naive_recount(question: tuple[list[Act], Selection]) -> None:
    acts, selection = question
    assert rows(calendar(mirror_of(acts), selection)) == naive_calendar(acts, selection)


@given(questions())
@settings(max_examples=150, deadline=None)
def test_who_was_active_when_and_how_often_equals_a_naive_recount(question: tuple[list[Act], Selection]) -> None:
    acts, selection = question
    mirror = mirror_of(acts)
    people, is_counted = mirror.people.ids, counted_people(mirror, selection)
    active = seen(mirror, selection, days_in_range(selection), day_groups(selection))
    found = {(day, act.person) for day, act in counted(acts, selection) if act.person}
    days = [selection.first.toordinal() + row for row in range(len(active))]
    assert {(date.fromordinal(days[row]), int(people[column])) for row, column in np.argwhere(active)} == found
    for person, by_type in zip(people[is_counted], events_by_person(mirror, selection)[is_counted], strict=True):
        kinds = [act.type for _, act in counted(acts, selection) if act.person == person]
        assert by_type.tolist() == [kinds.count(kind) for kind in ActivityType]


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        ("Asia/Kathmandu", "2026-01-01T18:14:59.999", "2026-01-01"),
        ("Asia/Kathmandu", "2026-01-01T18:15:00", "2026-01-02"),
        ("Pacific/Chatham", "2026-07-01T11:14:59", "2026-07-01"),
        ("Pacific/Chatham", "2026-07-01T11:15:00", "2026-07-02"),
        ("America/St_Johns", "2026-01-01T03:29:59", "2025-12-31"),
        ("America/St_Johns", "2026-01-01T03:30:00", "2026-01-01"),
        ("Pacific/Apia", "2011-12-30T09:59:59", "2011-12-29"),
        ("Pacific/Apia", "2011-12-30T10:00:00", "2011-12-31"),
        ("America/Sao_Paulo", "2018-11-04T02:59:59", "2018-11-03"),
        ("America/Sao_Paulo", "2018-11-04T03:00:00", "2018-11-04"),
        ("Africa/Cairo", "2024-04-25T21:59:59", "2024-04-25"),
        ("Africa/Cairo", "2024-04-25T22:00:00", "2024-04-26"),
        ("Asia/Beirut", "2024-10-26T20:59:59", "2024-10-26"),
        ("Asia/Beirut", "2024-10-26T21:30:00", "2024-10-26"),
        ("Asia/Beirut", "2024-10-26T22:00:00", "2024-10-27"),
        ("Antarctica/Troll", "2025-03-30T21:59:59", "2025-03-30"),
        ("Antarctica/Troll", "2025-03-30T22:00:00", "2025-03-31"),
        ("Australia/Lord_Howe", "2025-04-05T13:00:00", "2025-04-06"),
        ("Australia/Lord_Howe", "2025-04-06T13:29:59", "2025-04-06"),
        ("Australia/Lord_Howe", "2025-04-06T13:30:00", "2025-04-07"),
        ("UTC", "2024-02-29T23:59:59.999", "2024-02-29"),
        ("UTC", "2025-12-31T23:59:59.999", "2025-12-31"),
    ],
)
def test_an_instant_falls_on_its_local_date(zone: str, instant: str, day: str) -> None:
    mirror = mirror_of([Act(3, at(instant), ActivityType.VIEW, 1)])
    middle = date.fromisoformat(day).toordinal()
    frame = calendar(mirror, Selection(date.fromordinal(middle - 3), date.fromordinal(middle + 3), zone))
    assert frame.loc[frame["events"] > 0, "day"].dt.strftime("%Y-%m-%d").tolist() == [day]


def test_a_date_that_never_was_stays_in_the_range_as_zero() -> None:
    hourly = [Act(1, at("2011-12-28T00:00") + hour * 3_600_000, ActivityType.VIEW, 1) for hour in range(24 * 6)]
    frame = calendar(mirror_of(hourly), Selection(date(2011, 12, 28), date(2012, 1, 1), "Pacific/Apia"))
    assert frame["events"].tolist() == [24, 24, 0, 24, 24]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Antarctica/Troll", date(2025, 3, 30), 22),
        ("Antarctica/Troll", date(2025, 10, 26), 26),
        ("Australia/Lord_Howe", date(2025, 4, 6), 24.5),
        ("Australia/Lord_Howe", date(2025, 10, 5), 23.5),
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
    ],
)
def test_a_day_is_as_long_as_its_clock_says(zone: str, day: date, hours: float) -> None:
    noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1000)
    quarters = [Act(1, noon + quarter * 900_000, ActivityType.VIEW, 1) for quarter in range(-200, 200)]
    assert calendar(mirror_of(quarters), Selection(day, day, zone))["events"].tolist() == [hours * 4]


def test_a_person_active_on_both_sides_of_a_week_border_is_one_person_of_the_day() -> None:
    border = 2948 * 7 * 86_400_000  # Thursday 00:00 UTC, in the middle of a local day in New York
    acts = [Act(4, border - 1, ActivityType.VIEW, 1), Act(4, border, ActivityType.VIEW, 1)]
    frame = calendar(mirror_of(acts), Selection(date(2026, 6, 30), date(2026, 7, 2), "America/New_York"))
    assert frame["people"].tolist() == [0, 1, 0]
    assert frame["events"].tolist() == [0, 2, 0]


def test_the_unknown_person_counts_in_events_and_never_in_people() -> None:
    acts = [Act(0, at("2026-05-05T10:00"), ActivityType.LIKE, 0)]
    frame = calendar(mirror_of(acts), Selection(date(2026, 5, 5), date(2026, 5, 5), "UTC"))
    assert (frame["events"].item(), frame["people"].item(), frame["like"].item()) == (1, 0, 1)


@pytest.mark.parametrize("mirror", [Mirror.empty(), mirror_of([Act(1, 0, ActivityType.VIEW, 1)])], ids=["empty", "elsewhere"])
def test_without_activities_every_day_is_there_with_zeros(mirror: Mirror) -> None:
    frame = calendar(mirror, Selection(date(2024, 2, 28), date(2024, 3, 1), "Europe/Berlin"))
    assert frame.dtypes.astype(str).to_dict() == DTYPES
    assert list(frame) == list(DTYPES)
    assert frame["day"].dt.strftime("%Y-%m-%d").tolist() == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert not frame.drop(columns="day").to_numpy().any()


def test_an_answer_changed_by_its_reader_does_not_change_the_next_answer() -> None:
    mirror = mirror_of([Act(1, at("2026-05-05T10:00"), ActivityType.VIEW, 1)])
    selection = Selection(date(2026, 5, 5), date(2026, 5, 5), "UTC")
    changed = calendar(mirror, selection)
    changed.loc[0, "events"] = 99
    assert calendar(mirror, selection)["events"].tolist() == [1]


def test_a_large_mirror_answers_the_same_on_two_threads_as_a_sum_of_small_ones() -> None:
    random = np.random.default_rng(5)
    size = 300_000
    person = random.integers(0, 50, size).astype(np.int32)
    quarter = (at("2026-01-01") // 900_000 + random.integers(0, 96 * 60, size)).astype(np.int32)
    kind, space = random.integers(0, 10, size).astype(np.int8), random.integers(0, 9, size).astype(np.int32)
    selection = Selection(date(2026, 1, 3), date(2026, 2, 20), "Asia/Kathmandu", left_out=frozenset({7}), spaces=frozenset({1, 2}))
    frame = calendar(Mirror.of(person, quarter, kind, space), selection)
    local = ((quarter.astype(np.int64) * 900 + 20_700) // 86_400).astype("datetime64[D]")
    keep = np.isin(space, [1, 2]) & (person != 7)
    raw = pd.DataFrame({"day": local[keep], "person": person[keep]})
    raw = raw[(raw["day"] >= "2026-01-03") & (raw["day"] <= "2026-02-20")]
    assert frame["events"].tolist() == raw.groupby("day").size().tolist()
    assert frame["people"].tolist() == raw[raw["person"] > 0].groupby("day")["person"].nunique().tolist()
