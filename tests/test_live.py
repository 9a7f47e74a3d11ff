"""The live mirror on both databases: what it holds after every refresh, its cache, and viewers who ask at once."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path

import pytest

import uar.live
from uar.activity import DAY_MS, Activity, ActivityType, ActorKind, Source, identity
from uar.capture.import_file import import_file
from uar.live import LiveMirror
from uar.mirror_cache import load_cache
from uar.report.mirror import Mirror
from uar.store.database import Engine, write_transaction
from uar.store.directory import Person, save_people
from uar.store.reads import activity_columns, find_site
from uar.store.retention import prune
from uar.store.writes import bump_generation, ensure_site, record_activities, renew_generation, start_coverage

NOON = 1_772_000_100_000
QUARTER = 900_000
CACHE = "mirror-{}.cache"


def activity(number: int, site: str = "acme", **changes: object) -> Activity:
    fields: dict[str, object] = {
        "site": site,
        "source": Source.IMPORT,
        "event_name": "page_viewed",
        "type": ActivityType(number % 10),
        "account": f"person-{number % 7}",
        "occurred_at": NOON + number * 700_000,
        "received_at": NOON + number * 700_000 + 5,
        "is_event_time": True,
        "key": identity(site, number),
        "space_key": f"S{number % 3}",
    }
    return Activity(**(fields | changes))  # type: ignore[arg-type]


def record(store: Engine, *numbers: int, site: str = "acme") -> None:
    with write_transaction(store) as connection:
        record_activities(connection, [activity(number, site) for number in numbers])


def site_id(store: Engine, name: str = "acme") -> int:
    with write_transaction(store) as connection:
        return ensure_site(connection, name)


def whole(store: Engine, since: int = 0) -> Mirror:
    """The mirror of all rows, read at once."""
    with store.connect() as connection:
        found = find_site(connection, "acme")
        assert found is not None
        rows = activity_columns(connection, found, 0, since)
    return Mirror.of(rows.person, rows.quarter, rows.type, rows.space)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The `after_id` of every reading of rows."""
    after: list[int] = []

    def noted(connection: object, site: int, after_id: int, *limits: int) -> object:
        after.append(after_id)
        return activity_columns(connection, site, after_id, *limits)  # type: ignore[arg-type]

    monkeypatch.setattr(uar.live, "activity_columns", noted)
    return after


def test_a_store_without_activities_gives_an_empty_snapshot(store: Engine) -> None:
    snapshot = LiveMirror(store, site_id(store), 0, None, now=lambda: 77).refresh()
    assert snapshot.mirror.activities == 0
    assert (snapshot.recorded_from_ms, snapshot.last_received_at, snapshot.data_at) == (None, None, 77)


def test_every_refresh_brings_what_is_new_and_reads_nothing_twice(store: Engine, reads: list[int]) -> None:
    live = LiveMirror(store, site_id(store), 0, None)
    seen_last = []
    for numbers in ([], [1, 2, 3], [], [2, 90, 4], [500]):
        record(store, *numbers)
        snapshot = live.refresh()
        assert snapshot.mirror == whole(store)
        seen_last.append(snapshot.last_received_at)
    assert seen_last[1] == NOON + 3 * 700_000 + 5
    assert snapshot.mirror.activities == 6
    assert reads[-1] > reads[1] >= reads[0] == 0


def test_a_long_load_goes_in_steps(store: Engine, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uar.live, "IDS_PER_STEP", 10)
    record(store, *range(25))
    snapshot = LiveMirror(store, site_id(store), 0, None).refresh()
    assert reads == [0, 10, 20]
    assert snapshot.mirror == whole(store)
    assert snapshot.last_received_at == NOON + 24 * 700_000 + 5


def test_a_snapshot_describes_people_apps_spaces_and_the_start_of_recording(store: Engine) -> None:
    record(store, 1, 2)
    with write_transaction(store) as connection:
        record_activities(connection, [activity(8, account="robot", actor_kind=ActorKind.APP)])
    live = LiveMirror(store, site_id(store), 0, None)
    snapshot = live.refresh()
    accounts = dict(zip(snapshot.people["id"], snapshot.people["account_id"], strict=True))
    assert {accounts[person] for person in snapshot.mirror.people.ids.tolist()} == {"person-1", "person-2", "robot"}
    assert [accounts[app] for app in snapshot.app_ids] == ["robot"]
    assert {"S1", "S2"} <= set(snapshot.spaces["space_key"])
    assert snapshot.recorded_from_ms == (NOON + 700_000) // QUARTER * QUARTER
    with write_transaction(store) as connection:
        start_coverage(connection, "worker", NOON - 90 * DAY_MS)  # for another site, or for none
    assert live.refresh().recorded_from_ms == (NOON + 700_000) // QUARTER * QUARTER


def test_another_site_stays_out(store: Engine) -> None:
    record(store, 1, 2)
    record(store, 3, 4, 5, site="other")
    assert LiveMirror(store, site_id(store), 0, None).refresh().mirror.activities == 2
    assert LiveMirror(store, site_id(store, "other"), 0, None).refresh().mirror.activities == 3


def test_erased_rows_are_gone_after_the_next_refresh(store: Engine) -> None:
    record(store, *range(20))
    live = LiveMirror(store, site_id(store), 0, None)
    before = live.refresh()
    with write_transaction(store) as connection:
        connection.exec_driver_sql(f"DELETE FROM activities WHERE person_id = {int(before.mirror.person[0])}")
        bump_generation(connection)
    after = live.refresh()
    assert after.mirror == whole(store)
    assert after.mirror.activities < before.mirror.activities == 20
    assert after.generation != before.generation
    assert live.former is None  # nobody may see them any more


@pytest.mark.parametrize("shift", [-QUARTER, 0, 1, 3 * QUARTER])
def test_only_what_happened_since_is_held_and_a_later_start_prunes(store: Engine, shift: int) -> None:
    record(store, *range(30))
    start = (NOON + 5_000_000) // QUARTER * QUARTER
    live = LiveMirror(store, site_id(store), start, None)
    assert live.refresh().mirror == whole(store, start)
    moved = live.refresh(since=start + shift)
    assert moved.mirror == whole(store, (start + shift) // QUARTER * QUARTER)
    assert moved.known_from_ms == (start + shift) // QUARTER * QUARTER


def test_what_is_pruned_is_dropped_without_reading_anything_again(store: Engine, reads: list[int]) -> None:
    record(store, *range(30))
    live = LiveMirror(store, site_id(store), 0, None)
    full = live.refresh()
    edge = (NOON + 5_000_000) // QUARTER * QUARTER
    gone = prune(store, edge)
    record(store, *range(30, 30 + gone))
    left = live.refresh()
    assert reads == [0, 30]
    assert left.mirror == whole(store, edge) == whole(store)
    assert (left.mirror.activities, left.generation) == (full.mirror.activities, full.generation)
    assert left.version != full.version  # figures of before are not shown for it
    assert live.former is None
    assert (full.known_from_ms, left.known_from_ms) == (NOON // QUARTER * QUARTER, edge)


def test_half_of_what_is_too_old_is_shown_nowhere(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, *range(30))
    edge = (NOON + 15_000_000) // QUARTER * QUARTER
    monkeypatch.setattr("uar.store.retention.BATCH", 2)
    with pytest.raises(InterruptedError):
        prune(store, edge, pause=_interrupted)
    found = LiveMirror(store, site_id(store), 0, None).refresh()
    assert found.mirror == whole(store, edge) != whole(store)
    assert found.known_from_ms == edge


def _interrupted() -> None:
    raise InterruptedError


def test_pruning_changes_neither_when_recording_began_nor_who_was_ever_active(store: Engine) -> None:
    blank = LiveMirror(store, site_id(store), 0, None).refresh()
    assert (blank.is_blank, blank.is_pruned, blank.known_from_ms) == (True, False, None)
    record(store, *range(30))
    live = LiveMirror(store, site_id(store), 0, None)
    before = live.refresh()
    edge = NOON + 100 * DAY_MS
    prune(store, edge)
    after = live.refresh()
    assert (before.recorded_from_ms, after.recorded_from_ms) == (NOON // QUARTER * QUARTER, NOON)
    assert [(found.is_blank, found.is_pruned) for found in (before, after)] == [(False, False), (False, True)]
    assert after.mirror.activities == 0
    assert after.known_from_ms == edge // QUARTER * QUARTER
    assert after.people["last_active_at"].tolist() == before.people["last_active_at"].tolist()


def test_older_activities_that_are_imported_after_a_pruning_count(store: Engine, tmp_path: Path) -> None:
    record(store, *range(30))
    live = LiveMirror(store, site_id(store), 0, None)
    edge = (NOON + 15_000_000) // QUARTER * QUARTER
    gone = prune(store, edge)
    assert live.refresh().known_from_ms == edge
    file = tmp_path / "old.csv"
    lines = [f"acme,{NOON - hours * 4 * QUARTER},view,ann" for hours in (1, 2, 3)]
    file.write_text("\n".join(["site,occurred_at,event,account_id", *lines]))
    oldest_kept = NOON - 9 * QUARTER  # more months than when it was pruned, but not enough for the third line
    assert import_file(store, file, now=lambda: NOON, oldest_kept=oldest_kept).too_old == 1
    found = live.refresh()
    assert found.known_from_ms == (NOON - 8 * QUARTER) // QUARTER * QUARTER
    assert found.mirror == whole(store, found.known_from_ms)
    assert found.mirror.activities == 2 + 30 - gone
    assert prune(store, oldest_kept) == 1
    assert live.refresh().mirror == found.mirror


def test_a_restart_reads_only_the_newest_rows_from_the_store(store: Engine, tmp_path: Path, reads: list[int]) -> None:
    record(store, *range(1_500))
    first = LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1)
    first.refresh()
    first.close()
    record(store, 5_000, 5_001)
    reads.clear()
    again = LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1).refresh()
    assert again.mirror == whole(store)
    assert again.mirror.activities == 1_502
    assert min(reads) > 0


@pytest.mark.parametrize("place", [0, 3, 30, 200, -1, -700])
def test_a_damaged_cache_is_read_anew_from_the_store(store: Engine, tmp_path: Path, place: int) -> None:
    record(store, *range(200))
    live = LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1)
    live.refresh()
    live.close()
    path = tmp_path / CACHE.format(site_id(store))
    good = path.read_bytes()
    assert load_cache(path) is not None
    damaged = bytearray(good)
    damaged[place] ^= 0x10
    for content in (bytes(damaged), good[: len(good) // 2], good[:place], good + b"x", b""):
        path.write_bytes(content)
        assert load_cache(path) is None
    path.write_bytes(damaged)
    restarted = LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1)
    assert restarted.refresh().mirror == whole(store)
    restarted.close()
    assert path.read_bytes() == good


def test_a_cache_of_other_rows_is_not_believed(store: Engine, tmp_path: Path) -> None:
    record(store, *range(50))
    live = LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1)
    live.refresh()
    live.close()
    with write_transaction(store) as connection:  # a store restored from a backup goes on with other rows under the same ids
        connection.exec_driver_sql(
            f"UPDATE activities SET occurred_at = occurred_at + {QUARTER} WHERE id = (SELECT max(id) FROM activities)"
        )
    assert LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1).refresh().mirror == whole(store)


def test_a_cache_of_a_quiet_site_is_known_by_its_own_rows(store: Engine, tmp_path: Path, reads: list[int]) -> None:
    record(store, *range(50))
    record(store, *range(1_200), site="busy")
    live = LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1)
    live.refresh()
    live.close()
    reads.clear()
    assert LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1).refresh().mirror == whole(store)
    assert reads[-1] >= 50  # grown from the cache
    with write_transaction(store) as connection:
        connection.exec_driver_sql(
            f"UPDATE activities SET occurred_at = occurred_at + {QUARTER} WHERE id = (SELECT min(id) FROM activities)"
        )
    assert LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1).refresh().mirror == whole(store)


def test_the_table_of_people_is_the_same_one_until_something_in_it_changes(store: Engine) -> None:
    record(store, *range(10))
    site = site_id(store)
    live = LiveMirror(store, site, 0, None)
    first = live.refresh().people
    assert live.refresh().people is first
    with write_transaction(store) as connection:
        save_people(connection, site, [Person("person-1", "Ann Other")], 5)
    renamed = live.refresh().people
    assert renamed is not first
    assert "Ann Other" in renamed["display_name"].tolist()


@pytest.mark.parametrize(("zone", "first"), [("UTC", 25), ("America/New_York", 25), ("Asia/Kathmandu", 26), ("Pacific/Auckland", 26)])
def test_the_first_known_day_of_a_pruned_site_is_a_whole_one_in_every_zone(store: Engine, zone: str, first: int) -> None:
    edge = NOON // DAY_MS * DAY_MS
    record(store, *range(-200, 50, 5))
    assert prune(store, edge)
    snapshot = LiveMirror(store, site_id(store), 0, None).refresh()
    assert snapshot.known_from(zone) == date(2026, 2, first)


def test_a_quiet_refresh_keeps_when_the_last_event_arrived(store: Engine) -> None:
    record(store, 4)
    live = LiveMirror(store, site_id(store), 0, None)
    received_at = live.refresh().last_received_at
    record(store, *range(20), site="other")
    assert live.refresh().last_received_at == received_at == NOON + 4 * 700_000 + 5


def test_a_restored_store_is_another_one_to_a_mirror_that_runs(store: Engine) -> None:
    record(store, 1, 2)
    live = LiveMirror(store, site_id(store), 0, None)
    before = live.refresh().generation
    with write_transaction(store) as connection:
        renew_generation(connection, 1_795_500_000_000)
    assert live.refresh().generation == 1_795_500_000_000 != before
    with write_transaction(store) as connection:
        bump_generation(connection)
    assert live.refresh().generation == 1_795_500_000_001


def test_a_cache_of_an_older_generation_is_neither_believed_nor_kept(store: Engine, tmp_path: Path) -> None:
    record(store, *range(50))
    live = LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1)
    live.refresh()
    live.close()
    with write_transaction(store) as connection:
        connection.exec_driver_sql("DELETE FROM activities WHERE id < 20")
        bump_generation(connection)
    assert LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1_000).refresh().mirror == whole(store)
    assert not (tmp_path / CACHE.format(site_id(store))).exists()


def test_after_an_erasure_the_cache_is_written_anew(store: Engine, tmp_path: Path) -> None:
    record(store, *range(50))
    live = LiveMirror(store, site_id(store), 0, tmp_path, cache_from=1)
    live.refresh()
    live.close()
    with write_transaction(store) as connection:
        connection.exec_driver_sql("DELETE FROM activities WHERE id = 20")
        bump_generation(connection)
    live.refresh()
    live.close()
    cached = load_cache(tmp_path / CACHE.format(site_id(store)))
    assert cached is not None
    assert cached[1] == whole(store)
    assert cached[1].activities == 49


def test_a_cache_that_cannot_be_written_does_no_harm(store: Engine, tmp_path: Path) -> None:
    record(store, 1, 2)
    (tmp_path / "file").write_text("not a folder")
    live = LiveMirror(store, site_id(store), 0, tmp_path / "file", cache_from=1)
    assert live.refresh().mirror.activities == 2
    live.close()
    assert live.refresh().mirror.activities == 2


def test_few_activities_leave_no_cache(store: Engine, tmp_path: Path) -> None:
    record(store, 1, 2)
    live = LiveMirror(store, site_id(store), 0, tmp_path)
    live.refresh()
    live.close()
    assert list(tmp_path.glob("mirror*")) == []


def test_whoever_asks_during_a_refresh_gets_the_snapshot_that_stands(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, 1)
    live = LiveMirror(store, site_id(store), 0, None)
    standing = live.refresh()
    record(store, 2)
    is_reading, may_go_on = threading.Event(), threading.Event()

    def slow(*arguments: object) -> object:
        is_reading.set()
        assert may_go_on.wait(10)
        return activity_columns(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(uar.live, "activity_columns", slow)
    other = threading.Thread(target=live.refresh)
    other.start()
    assert is_reading.wait(10)
    assert live.refresh() is standing
    may_go_on.set()
    other.join(10)
    assert live.snapshot is not None
    assert live.snapshot.mirror.activities == 2
    assert live.former is standing


def test_viewers_who_open_the_first_page_at_once_share_one_reading(store: Engine, reads: list[int]) -> None:
    record(store, *range(10))
    live = LiveMirror(store, site_id(store), 0, None)
    found: list[int] = []
    viewers = [threading.Thread(target=lambda: found.append(live.refresh().mirror.activities)) for _ in range(4)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(10)
    assert found == [10] * 4
    assert reads.count(0) == 1


def test_a_refresh_that_fails_can_be_repeated(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, 1)
    live = LiveMirror(store, site_id(store), 0, None)
    monkeypatch.setattr(uar.live, "people", lambda *_: (_ for _ in ()).throw(RuntimeError("gone")))
    with pytest.raises(RuntimeError, match="gone"):
        live.refresh()
    monkeypatch.undo()
    assert live.refresh().mirror.activities == 1
