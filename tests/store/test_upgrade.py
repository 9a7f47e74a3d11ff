"""A store of an earlier release, opened by this one: every row is still there, the reports say the same, and what comes again is known."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

import uar.store.database
from tests.capture.reading import RECEIVED_AT
from tests.store import later_release
from tests.store.kept_stores import REVISIONS, Rows, activities, kept_rows, restore
from tests.store.making import act, record, rows
from uar.__main__ import main
from uar.activity import DAY_MS
from uar.collection import collect
from uar.config import load_settings
from uar.store.database import Connection, Engine, is_current, migrate, open_store, read_transaction

ROOT = Path(__file__).parents[2]
ASKED = ("--site", "acme", "--zone", "Europe/Berlin", "--from", "2025-10-20", "--to", "2026-11-24", "--today", "2026-11-24")
# account → status, events, active days, last type, groups
PEOPLE = {
    "bot": ("App", 1, 1, "view", ""),
    "ben": ("Deactivated", 69, 69, "other", "everyone"),
    "ann": ("Active", 69, 69, "space", "engineers; everyone"),
    "cem": ("Active", 68, 68, "label", ""),
    "dia": ("Active", 34, 34, "comment", ""),
    "712020:actor": ("Low", 2, 1, "comment", ""),
    "user-789": ("Inactive", 1, 1, "create", ""),
    "user-123": ("Inactive", 1, 1, "view", ""),
    "712020:00000000-0000-4000-8000-0000000000a1": ("Inactive", 27, 4, "update", ""),
    "712020:00000000-0000-4000-8000-0000000000b2": ("Inactive", 13, 3, "update", ""),
    "5e0000000000000000000f02": ("Inactive", 0, 0, "create", ""),
    "<truncated>": ("Inactive", 0, 0, "view", ""),
    "557058:00000000-0000-4000-8000-00000000dd01": ("Inactive", 0, 0, "delete", ""),
    "4ad9aa0c52dc1b420a791d12": ("Inactive", 0, 0, "other", ""),
    "eve": ("Invited", 0, 0, "", ""),
}
HARMS = (
    "DELETE FROM memberships WHERE group_id = 2",
    "DELETE FROM quarantine WHERE id = 3",
    "DELETE FROM activities WHERE id = 77",
    "UPDATE activities SET occurred_at = occurred_at + 1 WHERE id = 77",
    "UPDATE people SET email = NULL",
    "UPDATE coverage SET ended_at = ended_at + 1",
    "UPDATE spaces SET name = space_key",
    "UPDATE deliveries SET count = 0",
    "ALTER TABLE audit DROP COLUMN detail",
)


@pytest.fixture(params=REVISIONS)
def upgraded(blank_store_url: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The store of an earlier release with this one's tables, on SQLite and on PostgreSQL."""
    restore(blank_store_url, request.param)
    engine = open_store(blank_store_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def revision(request: pytest.FixtureRequest, upgraded: Engine) -> str:
    """Whose store `upgraded` was."""
    return str(request.node.callspec.params["upgraded"])


@pytest.fixture
def first(blank_store_url: str) -> Iterator[Engine]:
    """The filled store of the first release as it was left, on SQLite and on PostgreSQL."""
    restore(blank_store_url, "0001")
    engine = open_store(blank_store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on `migrate` is that of a later release."""
    monkeypatch.setattr(uar.store.database, "_alembic", later_release.alembic)


def assert_all_is_there(connection: Connection, expected: Rows) -> None:
    """Every row of every table, and of the view, and no other."""
    for name, (columns, kept) in expected.items():
        found = connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {name} ORDER BY 1, 2").fetchall()
        assert [tuple(row) for row in found] == kept, name


def report(url: str, folder: Path, *words: str) -> str:
    """What a report prints."""
    environ = {"UAR_DATABASE_URL": url, "UAR_DATA_DIR": str(folder), "UAR_RETENTION_MONTHS": "1200"}
    done = CliRunner(env=environ).invoke(main, ["report", *words, *ASKED])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_every_row_is_as_it_was(upgraded: Engine, revision: str) -> None:
    assert is_current(upgraded)
    with read_transaction(upgraded) as connection:
        assert_all_is_there(connection, kept_rows(revision))


def test_a_migration_that_drops_or_changes_something_would_be_seen(upgraded: Engine, revision: str) -> None:
    with upgraded.connect() as connection:
        for harm in HARMS:
            connection.exec_driver_sql(harm)
            with pytest.raises((AssertionError, DBAPIError)):
                assert_all_is_there(connection, kept_rows(revision))
            connection.rollback()
        assert_all_is_there(connection, kept_rows(revision))


@pytest.mark.usefixtures("upgraded")
def test_the_reports_say_what_they_said(blank_store_url: str, tmp_path: Path) -> None:
    days = json.loads(report(blank_store_url, tmp_path, "calendar"))["days"]
    assert (len(days), sum(day["events"] for day in days), sum(day["people"] for day in days)) == (401, 285, 250)
    assert {day["day"]: (day["events"], day["people"]) for day in days if day["events"] > 5} == {
        "2026-03-02": (6, 3),
        "2026-03-03": (25, 2),
        "2026-03-04": (10, 3),
    }
    people = csv.DictReader(io.StringIO(report(blank_store_url, tmp_path, "users", "--format", "csv")))
    assert {
        row["account_id"]: (row["status"], int(row["events_total"]), int(row["active_days"]), row["last_event_type"], row["groups"])
        for row in people
    } == PEOPLE


def test_coverage_quarantine_and_counts_are_on_the_collection_page(upgraded: Engine, tmp_path: Path) -> None:
    state = collect(upgraded, load_settings({"UAR_DATA_DIR": str(tmp_path)}, tmp_path), RECEIVED_AT)
    assert state.gaps == ((RECEIVED_AT - 10 * DAY_MS, RECEIVED_AT - 8 * DAY_MS),)
    assert sorted(state.reasons["reason"].str[:13]) == ["Its token had", "The body is n", "The event nam"]
    assert dict(zip(state.deliveries["outcome"], state.deliveries["count"], strict=True)) == {
        "accepted": 70,
        "refused: wrong signature": 3,
        "duplicate": 2,
    }


def test_what_was_stored_then_comes_again_without_effect_and_new_acts_get_new_ids(upgraded: Engine) -> None:
    known = {bytes(key) for (key,) in rows(upgraded, "SELECT key FROM activities")}
    again = [activity for activity in activities() if activity.key in known]
    assert {activity.key for activity in again} == known
    assert record(upgraded, *again) == (0, len(again))
    [(last,)] = rows(upgraded, "SELECT max(id) FROM activities")
    assert record(upgraded, act(5_000, account="newcomer", space_key="NEW", site="new")) == (1, 0)
    assert rows(upgraded, f"SELECT site, person, space FROM activity_log WHERE id > {last}") == [("new", "newcomer", "NEW")]


def rewritten() -> Rows:
    """The rows of the first release as the later one's step leaves them: with kinds before the ids of contents."""
    expected = kept_rows("0001")
    for name in ("activities", "activity_log"):
        columns, kept = expected[name]
        place = columns.index("content_id")
        expected[name] = columns, [(*row[:place], row[place] and f"page:{row[place]}", *row[place + 1 :]) for row in kept]
    return expected


def assert_is_later(engine: Engine) -> None:
    """The tables are those of the later release, and its step was done once."""
    assert is_current(engine)
    with read_transaction(engine) as connection:
        assert_all_is_there(connection, rewritten())
    assert rows(engine, "SELECT version_num FROM alembic_version") == [(later_release.REVISION,)]
    assert rows(engine, "SELECT count(*), sum(minute - occurred_at / 60000) FROM activities WHERE minute > 0") == [
        (len(rewritten()["activities"][1]), 0)
    ]


@pytest.mark.usefixtures("later")
def test_a_filled_store_gets_the_tables_of_a_later_release_once(first: Engine) -> None:
    assert not is_current(first)
    migrate(first)
    assert_is_later(first)
    migrate(first)
    assert_is_later(first)
    assert record(first, act(5_000, account="newcomer")) == (1, 0)


@pytest.mark.usefixtures("later")
def test_an_upgrade_that_is_killed_leaves_the_release_before_and_the_next_start_completes_it(first: Engine, blank_store_url: str) -> None:
    command = [sys.executable, "-m", "tests.store.later_release", blank_store_url]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (killed.stdout, killed.returncode) == ("all but the commit\n", -signal.SIGKILL), killed.stderr
    assert not is_current(first)
    with read_transaction(first) as connection:
        assert_all_is_there(connection, kept_rows("0001"))
        assert "minute" not in {column["name"] for column in inspect(connection).get_columns("activities")}
    migrate(first)
    assert_is_later(first)
