"""Retention: what is too old leaves in small transactions, what is not stays, and no report shows days of which a part is gone."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.store.making import T0, act, record, rows
from uar.activity import DAY_MS, ActivityType
from uar.config import Settings, load_settings
from uar.live import LiveMirror
from uar.retention import DAY_S, RETRY_S, RetentionThread, oldest_kept
from uar.store import retention
from uar.store.database import Engine, read_transaction, write_transaction
from uar.store.reads import find_site, generation
from uar.store.retention import count_older, keep_from, kept_from, prune
from uar.store.writes import extend_coverage, start_coverage

PEOPLE = "SELECT account_id, first_active_at, last_active_at, last_type FROM people WHERE id != 0"
TIMES = "SELECT occurred_at FROM activities ORDER BY id"
ONE_DATABASE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
# Prunes in batches of three, says so after each, and stays where it is after the second.
PRUNING = """
import sys, time
from uar.store import retention
from uar.store.database import open_store
retention.BATCH, retention.PEOPLE, pauses = 3, 2, []
def pause():
    pauses.append(print("a batch", flush=True))
    time.sleep(60 * (len(pauses) > 1))
retention.prune(open_store(sys.argv[1]), int(sys.argv[2]), pause=pause)
"""
HOURLY = 5  # activities of each person before T0 + 5 hours


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def edge(store: Engine) -> int:
    with read_transaction(store) as connection:
        return kept_from(connection)


def shown(store: Engine) -> tuple[int, int | None]:
    """How many activities a report holds, and from when on its days are known."""
    with read_transaction(store) as connection:
        site_id = find_site(connection, "acme")
    assert site_id is not None
    snapshot = LiveMirror(store, site_id, 0, None).refresh()
    return snapshot.mirror.activities, snapshot.known_from_ms


def fill(store: Engine) -> int:
    """Three people and the unknown one, five old hours and five new ones each; returns the instant between."""
    accounts = ("ann", "bea", "cem", None)
    record(store, *(act(100 * place + hour, at=hour * 3_600_000, account=who) for place, who in enumerate(accounts) for hour in range(10)))
    return T0 + HOURLY * 3_600_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"UAR_RETENTION_MONTHS": "1"}, tmp_path)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and groups of people small enough for a test."""
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "PEOPLE", 2)


@pytest.mark.parametrize(
    ("now", "months", "then"),
    [
        ("2026-11-24T10:30:00.250", 25, "2024-10-24"),
        ("2026-03-31T00:00:00", 1, "2026-02-28"),
        ("2024-03-31T00:00:00", 1, "2024-02-29"),
        ("2026-01-15T12:00:00", 1, "2025-12-15"),
        ("2026-12-31T23:59:59.999", 12, "2025-12-31"),
        ("2026-01-15T12:00:00", 1200, "1926-01-15"),
    ],
)
def test_months_are_calendar_months_and_whole_days_in_utc(now: str, months: int, then: str) -> None:
    assert oldest_kept(ms(f"{now}+00:00"), months) == ms(f"{then}T00:00:00+00:00")


def test_what_is_older_leaves_and_what_is_not_stays(store: Engine, small: None) -> None:
    before = fill(store)
    assert count_older(store, before) == 4 * HOURLY
    assert prune(store, before, pause=lambda: None) == 4 * HOURLY
    assert rows(store, TIMES) == [(T0 + hour * 3_600_000,) for _ in range(4) for hour in range(5, 10)]
    assert count_older(store, before) == 0


def test_an_activity_at_the_very_instant_is_kept(store: Engine) -> None:
    record(store, act(1, at=-1), act(2, at=0))
    assert prune(store, T0) == 1
    assert rows(store, TIMES) == [(T0,)]


def test_people_keep_their_first_and_last_activity(store: Engine) -> None:
    record(store, act(1), act(2, at=9_000, type=ActivityType.LIKE))
    known = rows(store, PEOPLE)
    assert prune(store, T0 + DAY_MS) == 2
    assert rows(store, PEOPLE) == known == [("ann", T0, T0 + 9_000, int(ActivityType.LIKE))]


def test_no_transaction_removes_more_than_a_batch(store: Engine, small: None) -> None:
    before, left = fill(store), []
    prune(store, before, pause=lambda: left.append(rows(store, "SELECT count(*) FROM activities")[0][0]))
    assert left[-1] == 4 * HOURLY
    assert all(earlier - later <= 3 for earlier, later in zip([8 * HOURLY, *left], left, strict=False))


def test_the_first_batch_moves_the_edge_of_what_counts_and_mirrors_need_not_read_again(store: Engine, small: None) -> None:
    before, seen = fill(store), []
    with read_transaction(store) as connection:
        start = generation(connection)
    prune(store, before, pause=lambda: seen.append(edge(store)))
    assert set(seen) == {before}
    with read_transaction(store) as connection:
        assert generation(connection) == start


def test_where_nothing_is_too_old_nothing_changes(store: Engine) -> None:
    fill(store)
    assert prune(store, T0) == 0
    assert edge(store) == 0


def test_an_interrupted_run_is_gone_on_with_even_if_more_months_are_to_be_kept_by_then(store: Engine, small: None) -> None:
    before, pauses = fill(store), []

    def interrupt() -> None:
        pauses.append(1)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(store, before, pause=interrupt)
    left = count_older(store, before)
    assert 0 < left < 4 * HOURLY
    assert count_older(store, T0) == left
    assert prune(store, T0, pause=lambda: None) == left
    assert edge(store) == before


def test_a_killed_run_shows_nothing_half_and_the_next_one_ends_it(store: Engine, store_url: str) -> None:
    before = fill(store)
    with subprocess.Popen([sys.executable, "-c", PRUNING, store_url, str(before)], stdout=subprocess.PIPE, text=True) as pruning:
        assert pruning.stdout is not None
        assert [pruning.stdout.readline() for _ in range(2)] == ["a batch\n"] * 2
        pruning.kill()
    assert pruning.returncode == -signal.SIGKILL
    left = len(rows(store, f"SELECT id FROM activities WHERE occurred_at < {before}"))
    assert left == 4 * HOURLY - 6
    assert shown(store) == (4 * HOURLY, before)
    assert prune(store, before) == left
    assert shown(store) == (4 * HOURLY, before)


def test_progress_counts_people_up_to_all(store: Engine, small: None) -> None:
    before, seen = fill(store), []
    prune(store, before, lambda done, total: seen.append((done, total)), pause=lambda: None)
    assert seen == [(2, 4), (4, 4)]


def test_a_replayed_old_delivery_is_pruned_again(store: Engine) -> None:
    record(store, act(1))
    assert prune(store, T0 + 1) == 1
    assert record(store, act(1)) == (1, 0)
    assert prune(store, T0 + 1) == 1
    assert rows(store, TIMES) == []


def test_the_worker_prunes_by_the_configured_months(store: Engine, settings: Settings) -> None:
    record(store, act(1), act(2, at=DAY_MS))
    now = ms("2026-06-29T23:00:00+00:00")  # the day after T0, one month later
    assert RetentionThread(settings, store, lambda: now).round() == DAY_S
    assert rows(store, TIMES) == [(T0 + DAY_MS,)]


def test_activities_that_are_imported_again_after_a_pruning_count_once_in_a_mirror_that_looked_away(store: Engine) -> None:
    record(store, act(1), act(2, at=DAY_MS))
    with read_transaction(store) as connection:
        site_id = find_site(connection, "acme")
    assert site_id is not None
    live = LiveMirror(store, site_id, 0, None)
    assert live.refresh().mirror.activities == 2
    prune(store, T0 + DAY_MS)
    with write_transaction(store) as connection:
        keep_from(connection, T0)
    record(store, act(1))
    assert live.refresh().mirror.activities == 2


def up(store: Engine, since: int, until: int) -> None:
    with write_transaction(store) as connection:
        extend_coverage(connection, start_coverage(connection, "worker", since), until)


def test_a_clock_that_jumps_ahead_removes_nothing_not_after_a_restart_either(store: Engine, settings: Settings) -> None:
    record(store, act(1))
    up(store, T0, T0 + 60_000)
    later, clock = T0 + 3650 * DAY_MS, [T0 + 90_000]
    thread = RetentionThread(settings, store, lambda: clock[0])
    for now in (T0 + 90_000, later, later + 1):
        clock[0] = now
        assert thread.round() == DAY_S
    up(store, later - 30_000, later + 30_000)  # so it is noted by that clock
    assert RetentionThread(settings, store, lambda: later + DAY_MS).round() == DAY_S
    clock[0] = T0 + 2 * DAY_MS  # right again
    thread.round()
    assert (rows(store, TIMES), edge(store)) == ([(T0,)], 0)


def test_a_clock_that_is_ahead_at_the_start_removes_nothing_for_a_week(store: Engine, settings: Settings) -> None:
    record(store, act(1))
    up(store, T0, T0 + 60_000)
    later = T0 + 400 * DAY_MS
    assert RetentionThread(settings, store, lambda: later).round() == DAY_S
    assert rows(store, TIMES) == [(T0,)]
    up(store, later, later + 8 * DAY_MS)  # it was right: the worker had been away for a year
    assert RetentionThread(settings, store, lambda: later + 8 * DAY_MS + 120_000).round() == DAY_S
    assert rows(store, TIMES) == []


def test_older_activities_that_are_brought_in_count_again_until_they_are_pruned(store: Engine) -> None:
    record(store, act(1), act(2, at=DAY_MS))
    prune(store, T0 + DAY_MS)
    for at, expected in ((T0 + 2 * DAY_MS, T0 + DAY_MS), (T0 + 5, T0 + 5)):
        with write_transaction(store) as connection:
            keep_from(connection, at)
        assert edge(store) == expected


@ONE_DATABASE
def test_the_thread_works_by_itself_and_stops_while_it_waits(store: Engine, settings: Settings) -> None:
    record(store, act(1))
    thread = RetentionThread(settings, store, lambda: T0 + 60 * DAY_MS, first_s=0.01)
    thread.start()
    deadline = time.monotonic() + 60
    while rows(store, TIMES) and time.monotonic() < deadline:
        time.sleep(0.01)
    thread.stop()
    assert rows(store, TIMES) == []
    assert "retention" not in [alive.name for alive in threading.enumerate()]


@ONE_DATABASE
def test_a_thread_that_stops_leaves_the_rest_to_the_next_run(store: Engine, settings: Settings, small: None) -> None:
    before = fill(store)
    thread = RetentionThread(settings, store, lambda: before + 31 * DAY_MS)
    thread.stop()
    thread.round()
    assert 0 < len(rows(store, TIMES)) == 8 * HOURLY - 3


@ONE_DATABASE
def test_a_store_that_fails_is_one_line_in_the_log_and_tried_again(
    store: Engine, settings: Settings, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("no folder")
    thread = RetentionThread(load_settings({"UAR_DATA_DIR": str(tmp_path / "data")}, tmp_path))
    with caplog.at_level(logging.INFO):
        assert thread.round() == RETRY_S
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.text.count("stay for now") == 1


@ONE_DATABASE
def test_what_nobody_thought_of_is_one_line_without_values(store: Engine, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> int:
        raise KeyError("Ann Smith")

    assert RetentionThread(settings, store, fail).round() == RETRY_S
    assert "Pruning failed (KeyError in fail:" in caplog.text
    assert "Ann" not in caplog.text
