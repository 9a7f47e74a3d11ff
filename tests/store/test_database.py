"""Opening the store: the library, the pragmas, the driver, and what goes wrong said in sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite3

from tests.store.making import act, record, rows
from uar.store import sqlite_file
from uar.store.database import (
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    look_through,
    migrate,
    open_store,
    read_transaction,
    write_transaction,
)


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sqlite_file, "NEEDED", (99, 0, 0))
    with pytest.raises(StoreError, match=r"^SQLite 3\.\d+\.\d+ can damage the store; version 99\.0\.0 or later is needed"):
        open_store(f"sqlite:///{tmp_path / 'uar.db'}")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_store_in_memory_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="names no file"):
        open_store(url)


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1), ("busy_timeout", 10_000), ("cache_size", -65536)],
)
def test_sqlite_is_set_to_lose_nothing(tmp_path: Path, pragma: str, value: object) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'uar.db'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


def test_the_folder_of_the_file_is_made_and_its_name_may_hold_any_signs(tmp_path: Path) -> None:
    path = tmp_path / "new" / "per cent %41 ? # ü" / "uar.db"
    engine = open_store(f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}")
    migrate(engine)
    assert engine.url.database == str(path)
    engine.dispose()
    assert path.is_file()


def test_a_read_only_store_must_exist_and_refuses_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'uar.db'}"
    with pytest.raises(StoreUnavailable, match=r"uar\.db does not exist yet"):
        open_store(url, read_only=True)
    assert not (tmp_path / "uar.db").exists()
    writer = open_store(url)
    migrate(writer)
    record(writer, act(1))
    reader = open_store(url, read_only=True)
    assert rows(reader, "SELECT count(*) FROM activities") == [(1,)]
    with pytest.raises(StoreUnavailable, match="readonly"):
        record(reader, act(2))
    reader.dispose()
    writer.dispose()


def test_a_read_only_postgresql_refuses_writes(store_url: str) -> None:
    reader = open_store(store_url, read_only=True)
    assert rows(reader, "SELECT count(*) FROM activities") == [(0,)]
    with pytest.raises((StoreError, StoreUnavailable), match=r"read-?only"):
        record(reader, act(1))
    reader.dispose()


def test_a_file_that_is_no_database_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "uar.db"
    path.write_bytes(b"this is a text, not a database. " * 200)
    with pytest.raises(StoreDamaged, match=r"uar\.db is damaged \(file is not a database\): .*python -m uar restore FOLDER"):
        open_store(f"sqlite:///{path}")


def test_a_damaged_page_is_found_at_the_next_start_and_by_who_looks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "uar.db"
    engine = open_store(f"sqlite:///{path}")
    migrate(engine)
    look_through(engine, 5.0)
    engine.dispose()
    with open(path, "r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff")  # the kind of a page
    engine = open_store(f"sqlite:///{path}")
    with pytest.raises(StoreDamaged, match=r"python -m uar restore FOLDER"):
        migrate(engine)
    with pytest.raises(StoreDamaged):
        look_through(engine, 5.0)
    engine.dispose()


def test_a_file_that_is_taken_away_is_missed_and_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "uar.db"
    engine = open_store(f"sqlite:///{path}")
    migrate(engine)
    record(engine, act(1))
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreUnavailable, match=r"uar\.db is gone: .*python -m uar restore FOLDER"):
        record(engine, act(2))
    assert not path.exists()
    (tmp_path / "elsewhere.db").rename(path)
    assert record(engine, act(2)) == (1, 0)
    engine.dispose()


def test_what_is_committed_to_a_file_that_was_taken_away_meanwhile_does_not_pass_for_stored(tmp_path: Path) -> None:
    path = tmp_path / "uar.db"
    engine = open_store(f"sqlite:///{path}")
    migrate(engine)
    with pytest.raises(StoreUnavailable, match=r"uar\.db is gone"), write_transaction(engine):
        path.unlink()
    engine.dispose()


def test_a_locked_store_is_unavailable_for_the_time_being(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.2)
    path = tmp_path / "uar.db"
    engine = open_store(f"sqlite:///{path}")
    migrate(engine)
    other = sqlite3.connect(str(path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"), write_transaction(engine):
        pass
    other.execute("ROLLBACK")
    assert record(engine, act(1)) == (1, 0)
    other.close()
    engine.dispose()


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_postgresql_is_reached_by_psycopg_whatever_the_url_says(scheme: str) -> None:
    engine = open_store(f"{scheme}://ann:secret@db.example:5433/uar")
    assert (engine.dialect.driver, engine.url.host, engine.url.port, engine.url.database) == ("psycopg", "db.example", 5433, "uar")


def test_a_postgresql_that_is_not_there_is_a_sentence_without_the_password() -> None:
    engine = open_store("postgresql://ann:hush-hush@127.0.0.1:1/uar")
    with pytest.raises(StoreUnavailable, match="The store cannot be used now: ") as caught, read_transaction(engine):
        pass
    assert "hush-hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_postgresql_gives_up_on_statements_that_take_too_long(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        return
    engine = open_store(store_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1min"
        assert connection.exec_driver_sql("SHOW timezone").scalar() == "UTC"
    slow = "SET LOCAL statement_timeout = 50; SELECT pg_sleep(5)"
    with pytest.raises(StoreUnavailable, match="statement timeout"), read_transaction(engine) as connection:
        connection.exec_driver_sql(slow)
    assert rows(engine, "SELECT count(*) FROM activities") == [(0,)]
    engine.dispose()
