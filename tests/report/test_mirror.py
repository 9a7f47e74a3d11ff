"""The mirror: sorted, counted, and the same whether grown step by step or loaded at once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.recount import Act, columns_of, mirror_of
from tests.report.strategies import acts_near, edges, questions
from uar.activity import ActivityType
from uar.report import mirror as mirror_module
from uar.report.breakdown import active_people, breakdown
from uar.report.days import calendar
from uar.report.mirror import Mirror
from uar.report.people import counts_by_person
from uar.report.selection import Selection

COLUMNS = ("person", "quarter", "type", "space", "count")


def as_rows(mirror: Mirror) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(mirror, name).tolist() for name in COLUMNS), strict=True))


@given(edges().flatmap(acts_near))
@settings(max_examples=150, deadline=None)
def test_the_columns_hold_every_activity_once_in_order(acts: list[Act]) -> None:
    counts = Counter((act.person, act.at // 900_000, int(act.type), act.space) for act in acts)
    mirror = mirror_of(acts)
    assert as_rows(mirror) == [(*key, count) for key, count in sorted(counts.items())]
    assert (mirror.rows, mirror.activities) == (len(counts), len(acts))


@given(questions(), st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_mirror_grown_step_by_step_equals_one_loaded_at_once(question: tuple[list[Act], Selection], cuts: list[int]) -> None:
    acts, selection = question
    whole, grown = mirror_of(acts), Mirror.empty()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(acts)], strict=True):
        grown = grown.grown(*columns_of(acts[start:end]))
    assert as_rows(grown) == as_rows(whole)
    assert grown == whole
    assert calendar(grown, selection).equals(calendar(whole, selection))
    assert breakdown(grown, selection).equals(breakdown(whole, selection))
    assert active_people(grown, selection) == active_people(whole, selection)
    of_grown, of_whole = (counts_by_person(mirror, selection, selection.last) for mirror in (grown, whole))
    assert of_grown.equals(of_whole)


def test_growing_leaves_the_old_mirror_as_it_was() -> None:
    old = mirror_of([Act(1, 1_700_000_000_000, ActivityType.VIEW, 1)])
    before = as_rows(old)
    new = old.grown(*columns_of([Act(1, 1_700_000_000_000, ActivityType.VIEW, 1), Act(9, 1_800_000_000_000, ActivityType.LIKE, 2)]))
    assert as_rows(old) == before
    assert [row[-1] for row in as_rows(new)] == [2, 1]


def test_growing_shares_the_weeks_that_did_not_change() -> None:
    old = mirror_of([Act(1, 1_700_000_000_000, ActivityType.VIEW, 1), Act(1, 1_800_000_000_000, ActivityType.VIEW, 1)])
    new = old.grown(*columns_of([Act(2, 1_800_000_000_000, ActivityType.VIEW, 1)]))
    first, last = new.blocks
    assert new.blocks[first] is old.blocks[first]
    assert new.blocks[last] is not old.blocks[last]


def test_mirrors_of_other_activities_are_not_equal() -> None:
    one = mirror_of([Act(1, 1_700_000_000_000, ActivityType.VIEW, 1)])
    assert one != mirror_of([Act(1, 1_700_000_000_000, ActivityType.LIKE, 1)])
    assert one != mirror_of([Act(1, 1_700_000_000_000, ActivityType.VIEW, 1)] * 2)
    assert one != Mirror.empty()


def test_an_empty_mirror_has_typed_columns() -> None:
    dtypes = {name: str(getattr(Mirror.empty(), name).dtype) for name in COLUMNS}
    assert dtypes == {"person": "int32", "quarter": "int32", "type": "int8", "space": "int32", "count": "int32"}
    full = mirror_of([Act(1, 1_700_000_000_000, ActivityType.VIEW, 1)])
    assert {name: str(getattr(full, name).dtype) for name in COLUMNS} == dtypes


@pytest.mark.parametrize("times", [1, 255, 256, 70_000])
def test_a_count_has_room_for_a_mass_import(times: int) -> None:
    act = Act(3, 1_700_000_000_000, ActivityType.CREATE, 4)
    mirror = mirror_of([act] * times).grown(*columns_of([act]))
    assert mirror.count.tolist() == [times + 1]


def test_ids_far_apart_are_found_again() -> None:
    acts = [Act(person, 1_700_000_000_000, ActivityType.VIEW, space) for person, space in [(2**31 - 1, 5), (0, 2**31 - 1), (12, 0)]]
    assert [row[0] for row in as_rows(mirror_of(acts))] == [0, 12, 2**31 - 1]
    assert mirror_of(acts).space.tolist() == [2**31 - 1, 0, 5]


def test_too_many_people_for_the_sort_key_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "MOST_PEOPLE", 1)
    with pytest.raises(ValueError, match="at most 1 people"):
        mirror_of([Act(1, 0, ActivityType.VIEW, 1), Act(2, 0, ActivityType.VIEW, 1)])


@given(edges().flatmap(lambda around: st.tuples(acts_near(around), st.integers(-13, 13).map(lambda day: around + day * 86_400_000))))
@settings(max_examples=100, deadline=None)
def test_pruning_drops_exactly_what_is_older(case: tuple[list[Act], int]) -> None:
    acts, at = case
    kept = [act for act in acts if act.at // 900_000 >= at // 900_000]
    pruned = mirror_of(acts).since(at // 900_000)
    assert pruned == mirror_of(kept)
    assert pruned.activities == len(kept)
