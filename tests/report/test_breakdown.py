"""The breakdown, the number of people and the punch card against naive recounts."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings

from tests.report.recount import Act, counted, local_time, mirror_of, naive_breakdown
from tests.report.strategies import questions
from uar.activity import ActivityType
from uar.report.breakdown import active_people, breakdown
from uar.report.days import calendar
from uar.report.mirror import Mirror
from uar.report.punchcard import punchcard
from uar.report.selection import Selection

YEAR = Selection(date(2026, 1, 1), date(2026, 12, 31), "Europe/Berlin")


@given(questions())
@settings(max_examples=200, deadline=None)
def test_the_breakdown_equals_a_naive_recount(question: tuple[list[Act], Selection]) -> None:
    acts, selection = question
    frame = breakdown(mirror_of(acts), selection)
    rows = [(row["type"], row["events"], row["share"], row["people"]) for row in frame.to_dict("records")]
    assert rows == naive_breakdown(acts, selection)


@given(questions())
@settings(max_examples=100, deadline=None)
def test_people_are_counted_once_however_often_they_come(question: tuple[list[Act], Selection]) -> None:
    acts, selection = question
    people = {act.person for _, act in counted(acts, selection) if act.person}
    assert active_people(mirror_of(acts), selection) == len(people)


@given(questions())
@settings(max_examples=100, deadline=None)
def test_calendar_and_breakdown_agree(question: tuple[list[Act], Selection]) -> None:
    acts, selection = question
    mirror = mirror_of(acts)
    days, types = calendar(mirror, selection), breakdown(mirror, selection)
    assert [days[key].sum() for key in types["type"]] == types["events"].tolist()


def test_an_empty_breakdown_has_ten_typed_rows_of_zeros() -> None:
    frame = breakdown(Mirror.empty(), YEAR)
    assert frame.dtypes.astype(str).to_dict() == {"type": "str", "events": "int64", "share": "float64", "people": "int64"}
    assert frame["type"].tolist() == [kind.key for kind in ActivityType]
    assert not frame[["events", "share", "people"]].to_numpy().any()
    assert active_people(Mirror.empty(), YEAR) == 0


@given(questions())
@settings(max_examples=100, deadline=None)
def test_the_punch_card_equals_a_naive_recount(question: tuple[list[Act], Selection]) -> None:
    acts, selection = question
    times = [local_time(act.at, selection.zone) for _, act in counted(acts, selection)]
    naive = Counter((time.weekday(), time.hour) for time in times)
    card = punchcard(mirror_of(acts), selection, min_people=0)
    assert card.to_numpy().tolist() == [[naive[weekday, hour] for hour in range(24)] for weekday in range(7)]


@pytest.mark.parametrize(("people", "shown"), [(4, False), (5, True)])
def test_hours_of_fewer_than_five_people_stay_blank(people: int, shown: bool) -> None:
    monday = int(datetime(2026, 3, 2, 8, 30, tzinfo=UTC).timestamp() * 1000)
    acts = [Act(person, monday, ActivityType.VIEW, 1) for person in range(people + 1)]  # person 0 is nobody
    card = punchcard(mirror_of(acts), YEAR)
    assert card.shape == (7, 24)
    assert set(card.dtypes.astype(str)) == {"Int64"}
    assert card.notna().to_numpy().all() == shown
    assert card.isna().to_numpy().all() == (not shown)
    assert not shown or card.loc[0, 9] == people + 1
