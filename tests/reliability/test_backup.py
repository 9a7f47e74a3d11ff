"""Backup and restore: taken while deliveries come, brought to another place, it holds all that was acknowledged before it began."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.reliability import postgres
from tests.reliability.conftest import ready
from tests.reliability.running import RunningWorker
from tests.reliability.sender import Ledger, Sender
from tests.reliability.verdict import assert_nothing_lost, judge
from uar.__main__ import main
from uar.backup import back_up, restore
from uar.capture.spool import DataDirInUse, sole_owner
from uar.config import Settings, load_settings
from uar.store.database import StoreError, StoreUnavailable, migrate, open_store, read_transaction
from uar.store.reads import generation


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump and pg_restore of the server's own version."""
    folder = str(Path(postgres.program("pg_dump")).parent)
    monkeypatch.setenv("PATH", folder + os.pathsep + os.environ["PATH"])


def settings(data_dir: Path, url: str) -> Settings:
    return load_settings({"UAR_DATA_DIR": str(data_dir), "UAR_DATABASE_URL": url}, Path("/nonexistent"))


def elsewhere(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """A place for the restored store: another folder, and for PostgreSQL another, empty database."""
    is_sqlite = url.startswith("sqlite")
    new = f"sqlite:///{tmp_path / 'elsewhere' / 'uar.db'}" if is_sqlite else request.getfixturevalue("server").new_database()
    return settings(tmp_path / "elsewhere", new)


def test_a_backup_of_a_running_worker_holds_everything_acknowledged_before_it(
    tmp_path: Path, database_url: str, request: pytest.FixtureRequest
) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data", database_url) as worker, Sender(worker.port, ledger, itertools.count(), rate=300) as sender:
        time.sleep(1.5)
        acked_before = set(ledger.acked)
        files = back_up(settings(tmp_path / "data", database_url), tmp_path / "backup")
        time.sleep(0.2)
        sender.stop()
        worker.wait_drained()
    assert [file.name for file in files] == ["spool.db", "uar.db" if database_url.startswith("sqlite") else "uar.dump"]
    assert {file.stat().st_mode & 0o077 for file in files} == {0}
    restored = elsewhere(database_url, tmp_path, request)
    restore(restored, tmp_path / "backup")
    with RunningWorker(restored.data_dir, restored.database_url.reveal()) as worker:
        worker.wait_drained()
        time.sleep(0.3)
    engine = open_store(restored.database_url.reveal())
    verdict = judge(engine, Ledger(ledger.newest, ledger.sent, acked_before))
    with read_transaction(engine) as connection:  # a dashboard that goes on running takes it for another store
        assert generation(connection) > 1_700_000_000_000
    engine.dispose()
    assert verdict.is_clean, str(verdict)
    assert len(acked_before) > 200
    assert_nothing_lost(database_url, ledger)


def test_deliveries_that_wait_in_the_spool_are_part_of_a_backup(tmp_path: Path, database_url: str, request: pytest.FixtureRequest) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data", "postgresql://nobody@127.0.0.1:1/none") as worker:
        with Sender(worker.port, ledger, range(300)) as sender:
            sender.join()
        back_up(settings(tmp_path / "data", database_url), tmp_path / "backup")
    restored = elsewhere(database_url, tmp_path, request)
    restore(restored, tmp_path / "backup")
    with RunningWorker(restored.data_dir, restored.database_url.reveal()) as worker:
        worker.wait_drained()
    assert_nothing_lost(restored.database_url.reveal(), ledger)


def test_deliveries_that_wait_here_survive_a_restore(tmp_path: Path, database_url: str, request: pytest.FixtureRequest) -> None:
    ledger = Ledger()
    back_up(settings(tmp_path / "data", database_url), tmp_path / "backup")
    with RunningWorker(tmp_path / "elsewhere", "postgresql://nobody@127.0.0.1:1/none") as worker:
        with Sender(worker.port, ledger, range(300)) as sender:
            sender.join()
        worker.terminate()
    restored = elsewhere(database_url, tmp_path, request)
    restore(restored, tmp_path / "backup")
    with RunningWorker(restored.data_dir, restored.database_url.reveal()) as worker:
        worker.wait_drained()
    assert_nothing_lost(restored.database_url.reveal(), ledger)


def test_a_backup_never_overwrites(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "old").touch()
    with pytest.raises(StoreError, match="is not empty"):
        back_up(settings(tmp_path / "data", database_url), tmp_path / "backup")


def test_a_restore_never_overwrites(tmp_path: Path, database_url: str) -> None:
    here = settings(tmp_path / "data", database_url)
    back_up(here, tmp_path / "backup")
    with pytest.raises(StoreError, match="already"):
        restore(here, tmp_path / "backup")


def test_a_truncated_backup_is_refused_and_leaves_nothing(tmp_path: Path, database_url: str, request: pytest.FixtureRequest) -> None:
    back_up(settings(tmp_path / "data", database_url), tmp_path / "backup")
    for file in (tmp_path / "backup").iterdir():
        os.truncate(file, file.stat().st_size // 2)
    restored = elsewhere(database_url, tmp_path, request)
    with pytest.raises((StoreError, StoreUnavailable)):
        restore(restored, tmp_path / "backup")
    engine = open_store(restored.database_url.reveal())
    migrate(engine)  # an empty store, as new
    engine.dispose()


def test_a_restore_while_the_worker_runs_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'data' / 'uar.db'}"
    with RunningWorker(tmp_path / "data", url):
        back_up(settings(tmp_path / "data", url), tmp_path / "backup")
        with pytest.raises(DataDirInUse):
            restore(settings(tmp_path / "data", url), tmp_path / "backup")


def test_a_password_is_in_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" > {seen}\nfor last; do :; done\ncat "$(echo "${{last#*passfile=}}" | sed s,%2F,/,g)" >> {seen}\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin:/bin")
    with pytest.raises(StoreUnavailable, match="pg_dump failed"):
        back_up(settings(tmp_path / "data", "postgresql://uar:open-sesame@db.example/uar"), tmp_path / "backup")
    arguments, line = seen.read_text().splitlines()
    assert "postgresql://uar@db.example/uar" in arguments
    assert "open-sesame" not in arguments
    assert line == "*:*:*:*:open-sesame"


def test_a_backup_logs_in_with_the_password_of_the_address(tmp_path: Path, server: postgres.PostgresServer) -> None:
    url = server.new_login("keeper", "open:sesame\\")
    ready(url)
    back_up(settings(tmp_path / "data", url), tmp_path / "backup")
    with pytest.raises(StoreUnavailable, match="password authentication failed"):
        back_up(settings(tmp_path / "data", url.replace("sesame", "barley")), tmp_path / "another")


def test_the_commands_say_what_they_did_and_refuse_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UAR_DATA_DIR", str(tmp_path / "data"))

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, words)
        return done.exit_code, done.output

    assert run("backup", "first") == (1, f"There is no store at {tmp_path / 'data' / 'uar.db'} to back up.\n")
    assert run("migrate")[0] == 0
    exit_code, text = run("backup", "second")
    assert (exit_code, text.split("  ")[0]) == (0, "second/uar.db")
    assert run("restore", "second")[0] == 1
    (tmp_path / "data" / "uar.db").rename(tmp_path / "aside.db")
    assert run("restore", "second") == (0, "Restored. Start the worker: it upgrades the store if needed and drains what waits.\n")
    assert run("restore", "elsewhere")[1].startswith("elsewhere holds no uar.db")
    with sole_owner(tmp_path / "data"):
        assert run("restore", "second")[1].startswith(f"Another worker uses {tmp_path / 'data'}")
