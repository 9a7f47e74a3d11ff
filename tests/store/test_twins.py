"""An act that a source announces twice counts once, in every order of arrival, and the specific notice decides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.making import T0, act, generic, record, rows, specific
from uar.activity import Activity, ActivityType, Twin, identity
from uar.store.database import Engine, read_transaction, write_transaction
from uar.store.reads import activity_columns, find_site, generation
from uar.store.twins import TWIN_MS, _spans, act_code

CREATE, COMMENT, LIKE = ActivityType.CREATE, ActivityType.COMMENT, ActivityType.LIKE
STORED = "SELECT key, type, occurred_at FROM activities ORDER BY occurred_at, key"


def stored(store: Engine) -> list[tuple[bytes, int, int]]:
    return [(bytes(key), type_code, at - T0) for key, type_code, at in rows(store, STORED)]


def generation_of(store: Engine) -> int:
    with read_transaction(store) as connection:
        return generation(connection)


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_two_notices_of_one_act_are_one_row_in_every_order(store: Engine, in_one_batch: bool) -> None:
    for order in ("sg", "gs", "sggs", "gsg", "ggss", "gssg"):
        emptied(store)
        notices = [specific(1, 1_000) if letter == "s" else generic(2) for letter in order]
        batches = [notices] if in_one_batch else [[notice] for notice in notices]
        recorded = [record(store, *batch) for batch in batches]
        assert stored(store) == [(identity(1), LIKE, 1_000)], order
        assert (sum(new for new, _ in recorded), sum(again for _, again in recorded)) == (1, len(order) - 1), order


def test_mirrors_need_not_reload_when_the_specific_notice_changes_nothing_they_hold(store: Engine) -> None:
    before = generation_of(store)
    record(store, generic(2))
    record(store, specific(1, 1_000))
    assert generation_of(store) == before


def test_the_specific_notice_decides_the_type_and_mirrors_reload(store: Engine) -> None:
    before = generation_of(store)
    record(store, generic(2, 1_000, CREATE))
    record(store, specific(1, 1_000, COMMENT))
    assert stored(store) == [(identity(1), COMMENT, 1_000)]
    assert generation_of(store) == before + 1
    people = "SELECT first_active_at, last_active_at, last_type FROM people WHERE id > 0"
    assert rows(store, people) == [(T0 + 1_000, T0 + 1_000, int(COMMENT))]


def test_a_like_taken_back_and_given_again_within_a_minute_counts_twice(store: Engine) -> None:
    for notices in permutations([specific(1), generic(2, 10), specific(3, 20_000), generic(4, 20_010)]):
        emptied(store)
        for notice in notices:
            record(store, notice)
        assert stored(store) == [(identity(1), LIKE, 0), (identity(3), LIKE, 20_000)], notices


def test_the_span_of_activity_follows_the_notice_that_stays(store: Engine) -> None:
    record(store, generic(1), act(2, at=10_000))
    record(store, specific(3, 30_000, COMMENT))
    people = "SELECT first_active_at, last_active_at, last_type FROM people WHERE id > 0"
    assert rows(store, people) == [(T0 + 10_000, T0 + 30_000, int(COMMENT))]


def test_two_generic_notices_alone_are_two_acts(store: Engine) -> None:
    assert record(store, generic(1), generic(2, 5_000)) == (2, 0)


@pytest.mark.parametrize(("apart", "count"), [(59_999, 1), (60_000, 2), (-59_999, 1), (-60_000, 2)])
def test_a_minute_apart_are_two_acts(store: Engine, apart: int, count: int) -> None:
    record(store, generic(1))
    record(store, specific(2, apart))
    assert len(stored(store)) == count


@pytest.mark.parametrize("other", [{"account": "bob"}, {"account": None}, {"site": "beta"}, {"twin": Twin("like:8", is_generic=False)}])
def test_acts_of_others_elsewhere_or_on_something_else_are_no_twins(store: Engine, other: dict[str, Any]) -> None:
    record(store, generic(1))
    record(store, act(2, **({"twin": Twin("like:7", is_generic=False)} | other)))
    assert len(stored(store)) == 2


def test_the_unknown_persons_of_two_sites_are_no_twins(store: Engine) -> None:
    record(store, generic(1, account=None))
    record(store, specific(2, account=None, site="beta"))
    assert len(stored(store)) == 2


def test_a_specific_notice_again_at_another_stand_in_time_is_still_the_same(store: Engine) -> None:
    record(store, specific(1))
    record(store, generic(2, 3_600_000))
    record(store, specific(1, 3_600_000))
    assert stored(store) == [(identity(1), LIKE, 0), (identity(2), LIKE, 3_600_000)]


def test_the_code_of_an_act_tells_the_generic_notice_by_its_lowest_bit() -> None:
    one, other = act_code(Twin("like:7", is_generic=False)), act_code(Twin("like:7", is_generic=True))
    assert one is not None
    assert other == one + 1
    assert act_code(Twin("like:8", is_generic=False)) != one
    assert act_code(None) is None


TIMES = st.sampled_from([0, 1, 30_000, 59_999, 60_000, 60_001, 119_000, 899_999, 900_000])
TWINS = st.sampled_from([None, *(Twin(name, is_generic) for name in ("p", "p", "q") for is_generic in (False, True))])


@st.composite
def histories(draw: st.DrawFn) -> list[list[Activity]]:
    """A few acts, each at least once, in any order and cut into batches anywhere."""
    acts = [
        act(
            number,
            at=draw(TIMES),
            site=draw(st.sampled_from(["acme", "acme", "beta"])),
            account=draw(st.sampled_from(["ann", "ann", "ann", "bob", None])),
            type=draw(st.sampled_from([CREATE, COMMENT, LIKE])),
            space_key=draw(st.sampled_from([None, "ENG"])),
            twin=draw(TWINS),
        )
        for number in range(draw(st.integers(1, 9)))
    ]
    arriving = draw(st.permutations(acts + draw(st.lists(st.sampled_from(acts), max_size=5))))
    cuts = [number for number in range(1, len(arriving)) if draw(st.booleans())]
    return [list(arriving[start:end]) for start, end in pairwise([0, *cuts, len(arriving)])]


def remaining(arrived: Sequence[Activity]) -> set[Activity]:
    """The rule, naively: everything once, but no generic notice beside a specific one of its act."""

    def is_announced_by(one: Activity, other: Activity) -> bool:
        if one.twin is None or other.twin is None or (one.site, one.account, one.twin.act) != (other.site, other.account, other.twin.act):
            return False
        return one.twin.is_generic and not other.twin.is_generic and abs(one.occurred_at - other.occurred_at) < TWIN_MS

    return {one for one in arrived if not any(is_announced_by(one, other) for other in arrived)}


def spans(acts: set[Activity]) -> dict[tuple[str, str], tuple[int, int, int]]:
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for one in acts:
        if one.account:
            found.setdefault((one.site, one.account), []).append((one.occurred_at, int(one.type)))
    return {who: (min(times)[0], *max(times)) for who, times in found.items()}


class Follower:
    """A mirror as the dashboard keeps it: newer rows only, everything again when the generation changed."""

    def __init__(self) -> None:
        self.seen = self.last_id = 0
        self.rows: list[tuple[int, ...]] = []

    def refresh(self, store: Engine) -> None:
        with read_transaction(store) as connection:
            site_id = find_site(connection, "acme")
            if site_id is None:
                return
            if generation(connection) != self.seen:
                self.seen, self.last_id, self.rows = generation(connection), 0, []
            found = activity_columns(connection, site_id, self.last_id, 0)
        self.rows += zip(found.person.tolist(), found.quarter.tolist(), found.type.tolist(), found.space.tolist(), strict=True)
        self.last_id = found.last_id


def emptied(store: Engine) -> None:
    with write_transaction(store) as connection:
        for table in ("activities", "sites", "event_names", "people WHERE id > 0", "spaces WHERE id > 0"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=histories())
def test_any_history_leaves_what_the_rule_says(store: Engine, batches: list[list[Activity]]) -> None:
    emptied(store)
    follower = Follower()
    recorded = 0
    for batch in batches:
        recorded += sum(record(store, *batch))
        follower.refresh(store)
    expected = remaining([one for batch in batches for one in batch])
    query = "SELECT log.site, log.person, log.type, activities.key FROM activity_log AS log JOIN activities ON activities.id = log.id"
    log = rows(store, query)
    assert {(site, person, type_word, bytes(key)) for site, person, type_word, key in log} == {
        (one.site, one.account, one.type.key, one.key) for one in expected
    }
    assert len(log) == len(expected)
    assert recorded == sum(map(len, batches))
    query = "SELECT s.name, account_id, first_active_at, last_active_at, last_type FROM people JOIN sites s ON s.id = site_id"
    assert {(site, who): tuple(span) for site, who, *span in rows(store, query) if span[0] is not None} == spans(expected)
    fresh = Follower()
    fresh.refresh(store)
    assert sorted(follower.rows) == sorted(fresh.rows)


def test_the_notices_of_a_busy_account_are_looked_up_together() -> None:
    def at(person: int, *times: int) -> list[dict[str, Any]]:
        return [{"person_id": person, "occurred_at": time} for time in times]

    busy = at(1, *range(0, 100 * TWIN_MS, 1_000))
    apart = at(2, 0, 2 * TWIN_MS, 4 * TWIN_MS + 1)
    assert _spans([*apart[::-1], *busy]) == [
        (1, -TWIN_MS, 100 * TWIN_MS - 1_000 + TWIN_MS),
        (2, -TWIN_MS, 3 * TWIN_MS),
        (2, 3 * TWIN_MS + 1, 5 * TWIN_MS + 1),
    ]
