"""What comes out of the store equals what went in, on both databases, however it is read."""

from __future__ import annotations

import pandas as pd
import pytest

from uar.activity import ActivityType, Source
from uar.store import reads, schema
from uar.store.database import Engine, StoreError, read_transaction, write_transaction
from uar.store.dialects import insert_into

QUARTER = reads.QUARTER_MS


ALL = range(10)


def row(number: int, site_id: int = 1, **other: object) -> dict[str, object]:
    return {
        "site_id": site_id,
        "person_id": number % 5,
        "space_id": number % 3,
        "event_name_id": 1,
        "type": number % 10,
        "source": int(Source.IMPORT),
        "occurred_at": (2_000_000 + number) * QUARTER + number,
        "received_at": 1_800_000_000_000 + number,
        "is_event_time": 1,
        "key": number.to_bytes(16, "big"),
    } | other


def fill(store: Engine, rows: list[dict[str, object]]) -> None:
    with write_transaction(store) as connection:
        sites = [{"id": 1, "name": "acme", "cloud_id": None}, {"id": 2, "name": "other", "cloud_id": "c-2"}]
        connection.execute(insert_into(connection, schema.sites), sites)
        people = [{"id": number, "site_id": 1, "account_id": f"a{number}", "first_seen_at": 7} for number in range(1, 5)]
        connection.execute(insert_into(connection, schema.people), people)
        spaces = [{"id": number, "site_id": 1, "space_key": f"S{number}"} for number in (1, 2)]
        connection.execute(insert_into(connection, schema.spaces), spaces)
        connection.execute(insert_into(connection, schema.event_names), [{"id": 1, "name": "page_viewed"}])
        if rows:
            connection.execute(insert_into(connection, schema.activities), rows)


def columns(found: reads.ActivityRows) -> list[tuple[int, ...]]:
    return list(zip(found.person.tolist(), found.quarter.tolist(), found.type.tolist(), found.space.tolist(), strict=True))


def expected(numbers: range) -> list[tuple[int, ...]]:
    return [(number % 5, 2_000_000 + number, number % 10, number % 3) for number in numbers]


@pytest.mark.parametrize("is_parallel", [False, True])
def test_columns_are_the_rows_in_their_order(store: Engine, monkeypatch: pytest.MonkeyPatch, is_parallel: bool) -> None:
    monkeypatch.setattr(reads, "IDS_PER_CHUNK", 7)
    monkeypatch.setattr(reads, "PARALLEL_FROM", 0 if is_parallel else 1_000)
    fill(store, [row(number) for number in range(40)])
    with read_transaction(store) as connection:
        found = reads.activity_columns(connection, 1, 0, 0)
    assert columns(found) == expected(range(40))
    assert found.last_received_at == 1_800_000_000_039
    assert [str(column.dtype) for column in (found.person, found.quarter, found.type, found.space)] == ["int32", "int32", "int8", "int32"]


def test_only_newer_rows_of_the_site_since_the_instant_are_read(store: Engine) -> None:
    fill(store, [row(number) for number in range(20)] + [row(50, site_id=2)])
    with read_transaction(store) as connection:
        ids = [found for (found,) in connection.execute(schema.activities.select().with_only_columns(schema.activities.c.id)).all()]
        newer = reads.activity_columns(connection, 1, sorted(ids)[9], 0)
        late = reads.activity_columns(connection, 1, 0, (2_000_000 + 15) * QUARTER + 15)
        nothing = reads.activity_columns(connection, 1, max(ids), 0)
        other = reads.activity_columns(connection, 2, 0, 0)
    assert columns(newer) == expected(range(10, 20))
    assert columns(late) == expected(range(15, 20))
    assert (columns(nothing), nothing.last_id, nothing.last_received_at) == ([], max(ids), None)
    assert len(other.person) == 1
    assert newer.last_id in (sorted(ids)[19], max(ids))  # the site's last one, or beyond it the store's


def test_an_empty_store_has_no_rows(store: Engine) -> None:
    with read_transaction(store) as connection:
        found = reads.activity_columns(connection, 1, 0, 0)
    assert (columns(found), found.last_id, found.last_received_at) == ([], 0, None)


def test_more_people_and_spaces_than_fit_are_refused(store: Engine) -> None:
    fill(store, [row(1)])
    with write_transaction(store) as connection:
        connection.execute(insert_into(connection, schema.people), [{"id": 2**36, "site_id": 1, "account_id": "z", "first_seen_at": 7}])
    with read_transaction(store) as connection, pytest.raises(StoreError, match="store of its own"):
        reads.activity_columns(connection, 1, 0, 0)


def test_tables_have_their_dtypes_when_empty(store: Engine) -> None:
    with read_transaction(store) as connection:
        frames = {
            "people": reads.people(connection, 1),
            "spaces": reads.spaces(connection, 1),
            "groups": reads.groups(connection, 1),
            "memberships": reads.memberships(connection, 1),
            "coverage": reads.coverage(connection),
            "sites": reads.site_names(connection),
            "activities": reads.person_activities(connection, 1, 0, 2**50, ALL, None, 10),
        }
    assert {name: len(frame) for name, frame in frames.items()} == dict.fromkeys(frames, 0)
    kinds = {name: {column: str(dtype) for column, dtype in frame.dtypes.items()} for name, frame in frames.items()}
    assert kinds["sites"] == {"id": "int64", "name": "str", "cloud_id": "str", "base_url": "str"}
    assert kinds["coverage"] == {"started_at": "int64", "ended_at": "int64"}
    assert kinds["memberships"] == {"group_id": "int64", "person_id": "int64"}
    assert kinds["people"]["last_active_at"] == "Int64"
    assert kinds["activities"] == {"occurred_at": "int64", "type": "int64"} | dict.fromkeys(
        ("event_name", "content_id", "title", "space_key", "space_name"), "str"
    )


def test_tables_keep_their_dtypes_when_filled(store: Engine) -> None:
    with read_transaction(store) as connection:
        empty = reads.people(connection, 1).dtypes
    fill(store, [])
    with read_transaction(store) as connection:
        filled = reads.people(connection, 1)
    pd.testing.assert_series_equal(filled.dtypes, empty)
    assert filled["account_id"].tolist() == ["a1", "a2", "a3", "a4"]


def test_a_person_has_a_time_line_the_latest_first(store: Engine) -> None:
    fill(store, [row(number) for number in range(20)])
    with read_transaction(store) as connection:
        found = reads.person_activities(connection, 1, (2_000_000 + 2) * QUARTER, (2_000_000 + 16) * QUARTER + 16, ALL, None, 10)
        creates = reads.person_activities(connection, 1, 0, 2**50, [ActivityType(1)], None, 1)
        placed = reads.person_activities(connection, 1, 0, 2**50, ALL, [2], 10)
    assert found["occurred_at"].tolist() == [(2_000_000 + number) * QUARTER + number for number in (11, 6)]
    assert found["type"].tolist() == [ActivityType(1), ActivityType(6)]
    assert found["space_key"].fillna("unknown").tolist() == ["S2", "unknown"]
    assert creates["type"].tolist() == [ActivityType(1)]  # what is left out does not count against the limit
    assert set(placed["space_key"]) == {"S2"}


def test_a_site_is_found_by_name_and_by_cloud_id(store: Engine) -> None:
    fill(store, [])
    with read_transaction(store) as connection:
        assert [reads.find_site(connection, name) for name in ("acme", "other", "c-2", "nobody")] == [1, 2, 2, None]
        assert reads.generation(connection) >= 0
