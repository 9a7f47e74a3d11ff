"""Recording: each act once, names resolved, people's first and last activity kept, whatever comes in whatever order."""

from __future__ import annotations

import pytest

from tests.store.making import T0, act, record, rows
from uar.activity import ActivityType, ActorKind, Source, identity
from uar.store import reads, writes
from uar.store.database import Engine, StoreError, read_transaction, write_transaction
from uar.store.writes import Quarantined

CLOUD = "11111111-2222-3333-4444-555555555555"
PEOPLE = "SELECT account_id, display_name, kind, first_active_at, last_active_at, last_type FROM people WHERE id > 0 ORDER BY account_id"


def test_an_activity_is_stored_with_everything_it_names(store: Engine) -> None:
    activity = act(
        1,
        type=ActivityType.COMMENT,
        source=Source.DATACENTER,
        event_name="comment_created",
        is_event_time=False,
        display_name="Ann",
        space_key="ENG",
        space_name="Engineering",
        content_id="98305",
        title="Plan",
    )
    assert record(store, activity) == (1, 0)
    columns = (
        "site_id, person_id, space_id, event_name_id, type, source, occurred_at, received_at, is_event_time, content_id, title, act, key"
    )
    [(*found, key)] = rows(store, f"SELECT {columns} FROM activities")
    assert found == [1, 1, 1, 1, 4, 3, T0, T0 + 5, 0, "98305", "Plan", None]
    assert bytes(key) == identity(1)
    assert rows(store, "SELECT id, name, cloud_id, base_url FROM sites") == [(1, "acme", None, None)]
    assert rows(store, "SELECT id, site_id, space_key, name FROM spaces ORDER BY id") == [(0, 0, None, None), (1, 1, "ENG", "Engineering")]
    assert rows(store, "SELECT id, name FROM event_names") == [(1, "comment_created")]
    assert rows(store, PEOPLE) == [("ann", "Ann", "person", T0, T0, 4)]
    assert rows(store, "SELECT id, site_id, account_id, state, first_seen_at FROM people ORDER BY id") == [
        (0, 0, None, "active", 0),
        (1, 1, "ann", "active", T0 + 5),
    ]


def test_the_same_act_counts_once_within_a_batch_and_across_batches(store: Engine) -> None:
    assert record(store, act(1), act(2), act(1)) == (2, 1)
    assert record(store, act(2), act(3), act(1)) == (1, 2)
    assert rows(store, "SELECT count(*) FROM activities") == [(3,)]


def test_the_same_key_of_another_person_is_another_act(store: Engine) -> None:
    assert record(store, act(1), act(1, account="bob"), act(1, account=None), act(1, site="beta")) == (4, 0)


def test_a_batch_larger_than_a_slice_is_recorded_whole(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "SLICE", 3)
    many = [act(number % 8, account=f"a{number % 8}") for number in range(10)]
    assert record(store, *many) == (8, 2)
    assert rows(store, "SELECT count(*) FROM activities") == [(8,)]


def test_a_thousand_people_and_spaces_in_one_batch(store: Engine) -> None:
    many = [act(number, account=f"a{number:04}", space_key=f"S{number}", event_name=f"e{number}") for number in range(1_200)]
    assert record(store, *many) == (1_200, 0)
    log = rows(store, "SELECT person, space, event FROM activity_log ORDER BY id")
    assert log == [(f"a{number:04}", f"S{number}", f"e{number}") for number in range(1_200)]


def test_without_an_actor_it_is_the_unknown_person(store: Engine) -> None:
    record(store, act(1, account=None), act(2, account=None, site="beta"))
    assert rows(store, "SELECT site_id, person_id, space_id FROM activities ORDER BY id") == [(1, 0, 0), (2, 0, 0)]
    assert rows(store, "SELECT id, first_active_at, last_active_at FROM people") == [(0, None, None)]


def test_a_name_fills_only_an_empty_one(store: Engine) -> None:
    record(store, act(1, space_key="ENG"))
    record(store, act(2, display_name="Ann", space_key="ENG", space_name="Engineering"))
    record(store, act(3, display_name="Annabel", space_key="ENG", space_name="Other"))
    assert rows(store, PEOPLE) == [("ann", "Ann", "person", T0, T0, 0)]
    assert rows(store, "SELECT space_key, name FROM spaces WHERE id > 0") == [("ENG", "Engineering")]


def test_who_was_an_app_once_stays_an_app(store: Engine) -> None:
    record(store, act(1))
    record(store, act(2, actor_kind=ActorKind.APP))
    record(store, act(3), act(4, account="guest", actor_kind=ActorKind.GUEST), act(5, account="guest"))
    assert [(row[0], row[2]) for row in rows(store, PEOPLE)] == [("ann", "app"), ("guest", "guest")]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_first_and_last_activity_do_not_depend_on_the_order_of_arrival(store: Engine, order: tuple[int, ...]) -> None:
    types = {1: ActivityType.CREATE, 2: ActivityType.UPDATE, 3: ActivityType.LABEL}
    for number in order:
        record(store, act(number, at=1_000 * number, type=types[number]))
    assert rows(store, PEOPLE) == [("ann", None, "person", T0 + 1_000, T0 + 3_000, 7)]


def test_a_repeated_act_with_a_later_stand_in_time_moves_nothing(store: Engine) -> None:
    record(store, act(1, is_event_time=False))
    assert record(store, act(1, at=3_600_000, is_event_time=False)) == (0, 1)
    assert rows(store, PEOPLE) == [("ann", None, "person", T0, T0, 0)]


def test_a_person_whose_rows_were_pruned_keeps_first_and_last_activity(store: Engine) -> None:
    record(store, act(1), act(2, at=9_000))
    with write_transaction(store) as connection:
        connection.exec_driver_sql("DELETE FROM activities")
    record(store, act(3, at=5_000, type=ActivityType.LIKE))
    assert rows(store, PEOPLE) == [("ann", None, "person", T0, T0 + 9_000, 0)]


def test_a_batch_that_is_rolled_back_leaves_nothing_and_can_come_again(store: Engine) -> None:
    with pytest.raises(ZeroDivisionError), write_transaction(store) as connection:
        writes.record_activities(connection, [act(1, space_key="ENG")]).inserted / 0
    assert rows(store, "SELECT count(*) FROM people") == [(1,)]
    assert record(store, act(1, space_key="ENG")) == (1, 0)


def test_a_site_is_found_by_its_name_and_by_its_cloud_id(store: Engine) -> None:
    with write_transaction(store) as connection:
        by_cloud = writes.ensure_site(connection, CLOUD)
        acme = writes.ensure_site(connection, "acme")
        connection.exec_driver_sql(f"UPDATE sites SET name = 'renamed' WHERE id = {by_cloud}")
        assert writes.ensure_site(connection, CLOUD) == by_cloud
        assert writes.ensure_site(connection, "renamed") == by_cloud
        assert writes.ensure_site(connection, "acme") == acme != by_cloud
    assert rows(store, "SELECT name, cloud_id FROM sites ORDER BY id") == [("renamed", CLOUD), ("acme", None)]


def test_values_that_the_store_refuses_are_an_error_in_words(store: Engine) -> None:
    if store.dialect.name == "sqlite":  # it takes texts as they are; its limit is the size of a number
        refused = pytest.raises(OverflowError)
        bad = act(1, received_at=2**63)
    else:
        refused = pytest.raises(StoreError, match=r"The store refused: .*NUL")
        bad = act(1, title="a\0b")
    with refused:
        record(store, bad)
    assert rows(store, "SELECT count(*) FROM activities") == [(0,)]


def quarantined(body: bytes, delivery_id: str | None = "d-1") -> Quarantined:
    return Quarantined(Source.FORGE, "acme", None, delivery_id, T0, "not JSON", body)


def test_a_quarantined_delivery_is_kept_once_and_can_be_forgotten(store: Engine) -> None:
    with write_transaction(store) as connection:
        assert writes.record_quarantined(connection, [quarantined(b"{"), quarantined(b"["), quarantined(b"{")]) == 2
        assert writes.record_quarantined(connection, [quarantined(b"["), quarantined(b"{", None)]) == 1
        assert writes.record_quarantined(connection, []) == 0
    with read_transaction(store) as connection:
        found = reads.quarantined(connection, 10)
    assert [(row.body, row.delivery_id) for row in found] == [(b"{", "d-1"), (b"[", "d-1"), (b"{", None)]
    with write_transaction(store) as connection:
        writes.forget_quarantined(connection, [found[0].id, found[2].id])
    with read_transaction(store) as connection:
        assert [row.body for row in reads.quarantined(connection, 10)] == [b"["]


def test_deliveries_are_counted_per_day_and_outcome(store: Engine) -> None:
    late = T0 + 86_400_000
    with write_transaction(store) as connection:
        writes.count_deliveries(connection, {(Source.FORGE, "acme", "accepted"): 3, (Source.FORGE, "acme", "refused"): 1}, T0)
        writes.count_deliveries(connection, {(Source.FORGE, "acme", "accepted"): 4}, T0 - 1_000)
        writes.count_deliveries(connection, {(Source.FORGE, "acme", "accepted"): 5}, late)
        writes.count_deliveries(connection, {}, late)
    assert rows(store, "SELECT source, site, day, outcome, count, last_at FROM deliveries ORDER BY day, outcome") == [
        (1, "acme", "2026-05-28", "accepted", 7, T0),
        (1, "acme", "2026-05-28", "refused", 1, T0),
        (1, "acme", "2026-05-29", "accepted", 5, late),
    ]


def test_coverage_grows_and_a_clock_that_goes_back_takes_nothing_away(store: Engine) -> None:
    with write_transaction(store) as connection:
        first = writes.start_coverage(connection, "w1", T0)
        second = writes.start_coverage(connection, "w2", T0 + 1)
        writes.extend_coverage(connection, first, T0 + 60_000)
        writes.extend_coverage(connection, first, T0 + 30_000)
    assert first != second
    assert rows(store, "SELECT worker, started_at, ended_at FROM coverage ORDER BY id") == [
        ("w1", T0, T0 + 60_000),
        ("w2", T0 + 1, T0 + 1),
    ]


def test_the_generation_grows_by_one(store: Engine) -> None:
    with write_transaction(store) as connection:
        before = reads.generation(connection)
        writes.bump_generation(connection)
        assert reads.generation(connection) == before + 1
