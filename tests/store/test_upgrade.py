"""A store of an earlier release, opened by this one: every row is still there, the reports say the same, and what comes again is known."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy.exc import DBAPIError

from tests.capture.reading import RECEIVED_AT
from tests.store.kept_stores import REVISIONS, activities, kept_rows, restore
from tests.store.making import act, record, rows
from uar.__main__ import main
from uar.activity import DAY_MS
from uar.collection import collect
from uar.config import load_settings
from uar.store.database import Connection, Engine, is_current, migrate, open_store, read_transaction

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


def assert_all_is_there(connection: Connection, revision: str) -> None:
    """Every row of every table, and of the view, as it was."""
    for name, (columns, kept) in kept_rows(revision).items():
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
        assert_all_is_there(connection, revision)


def test_a_migration_that_drops_or_changes_something_would_be_seen(upgraded: Engine, revision: str) -> None:
    with upgraded.connect() as connection:
        for harm in HARMS:
            connection.exec_driver_sql(harm)
            with pytest.raises((AssertionError, DBAPIError)):
                assert_all_is_there(connection, revision)
            connection.rollback()
        assert_all_is_there(connection, revision)


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
