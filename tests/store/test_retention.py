"""Retention: what is too old leaves in small transactions, what is not stays, and mirrors are told whatever happens in between."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.store.making import T0, act, record, rows
from uar.activity import DAY_MS, ActivityType
from uar.config import Settings, load_settings
from uar.retention import DAY_S, RETRY_S, RetentionThread, oldest_kept
from uar.store import retention
from uar.store.database import Engine, read_transaction
from uar.store.reads import generation
from uar.store.retention import count_older, prune

PEOPLE = "SELECT account_id, first_active_at, last_active_at, last_type FROM people WHERE id != 0"
TIMES = "SELECT occurred_at FROM activities ORDER BY id"
ONE_DATABASE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
HOURLY = 5  # activities of each person before T0 + 5 hours


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def told(store: Engine) -> int:
    with read_transaction(store) as connection:
        return generation(connection)


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
        ("2026-11-24T10:30:00.250+00:00", 25, "2024-10-24T10:30:00.250+00:00"),
        ("2026-03-31T00:00:00+00:00", 1, "2026-02-28T00:00:00+00:00"),
        ("2024-03-31T00:00:00+00:00", 1, "2024-02-29T00:00:00+00:00"),
        ("2026-01-15T12:00:00+00:00", 1, "2025-12-15T12:00:00+00:00"),
        ("2026-12-31T23:59:59+00:00", 12, "2025-12-31T23:59:59+00:00"),
        ("2026-01-15T12:00:00+00:00", 1200, "1926-01-15T12:00:00+00:00"),
    ],
)
def test_months_are_calendar_months_in_utc(now: str, months: int, then: str) -> None:
    assert oldest_kept(ms(now), months) == ms(then)


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


def test_mirrors_are_told_with_the_first_batch_and_after_the_last(store: Engine, small: None) -> None:
    before, seen = fill(store), []
    start = told(store)
    prune(store, before, pause=lambda: seen.append(told(store)))
    assert set(seen) == {start + 1}
    assert told(store) == start + 2


def test_one_batch_tells_mirrors_once_and_none_does_not(store: Engine) -> None:
    before = fill(store)
    start = told(store)
    assert prune(store, T0) == 0
    assert told(store) == start
    prune(store, before)
    assert told(store) == start + 1


def test_an_interrupted_run_has_told_mirrors_and_the_next_goes_on(store: Engine, small: None) -> None:
    before, pauses = fill(store), []
    start = told(store)

    def interrupt() -> None:
        pauses.append(1)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(store, before, pause=interrupt)
    left = count_older(store, before)
    assert 0 < left < 4 * HOURLY
    assert told(store) == start + 2
    assert prune(store, before, pause=lambda: None) == left


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
    record(store, act(1), act(2, at=1))
    now = ms("2026-06-28T20:15:00.001+00:00")  # one month after T0, and a millisecond
    assert RetentionThread(settings, store, lambda: now).round() == DAY_S
    assert rows(store, TIMES) == [(T0 + 1,)]


@ONE_DATABASE
def test_the_thread_works_by_itself_and_stops_while_it_waits(store: Engine, settings: Settings) -> None:
    record(store, act(1))
    thread = RetentionThread(settings, store, lambda: T0 + 60 * DAY_MS, first_s=0.01)
    thread.start()
    deadline = time.monotonic() + 5
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
