"""Making the tables: what is declared is what is made, again does no harm, at once does no harm, killed half-way leaves nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from tests.store.making import act, record, rows
from uar.store.database import Engine, StoreError, is_current, migrate, open_store, read_transaction, write_transaction
from uar.store.schema import metadata

ROOT = Path(__file__).parents[2]
MIGRATE = "import sys; from uar.store.database import *; migrate(open_store(sys.argv[1])); print('done')"
# The same, but killed with SIGKILL as soon as the activities stand and the view does not.
KILLED = """
import os, signal, sys
from sqlalchemy import event
from uar.store.database import *
engine = open_store(sys.argv[1])
def before(connection, cursor, statement, *rest):
    if "CREATE VIEW" in statement:
        print("half-way", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(engine, "before_cursor_execute", before)
migrate(engine)
"""


def blank(url: str) -> Engine:
    return open_store(url)


def run(program: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, url], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def _named(difference: Any) -> tuple[str, str]:
    if isinstance(difference, list):
        [(kind, _, table, column, *_)] = difference
        return kind, f"{table}.{column}"
    return difference[0], difference[1].name


def test_the_migrations_make_what_the_schema_declares(store: Engine) -> None:
    with store.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, metadata)
    # One index is for PostgreSQL only; there the number comes from a sequence without being the whole primary key.
    expected = {"sqlite": [("add_index", "ix_activities_site_id_id")], "postgresql": [("modify_default", "activities.id")]}
    assert [_named(difference) for difference in differences] == expected[store.dialect.name]
    found = inspect(store)
    assert set(found.get_table_names()) == {*metadata.tables, "alembic_version"}
    assert found.get_view_names() == ["activity_log"]


def test_every_table_has_the_declared_primary_key(store: Engine) -> None:
    declared = {name: [column.name for column in table.primary_key] for name, table in metadata.tables.items()}
    if store.dialect.name == "postgresql":
        declared["activities"] = ["person_id", "id"]
    found = inspect(store)
    assert {name: found.get_pk_constraint(name)["constrained_columns"] for name in metadata.tables} == declared
    for name in metadata.tables:
        assert found.get_pk_constraint(name)["name"] == f"pk_{name}" or (store.dialect.name, name) == ("sqlite", "activities")


def test_every_key_of_activities_holds_the_person_on_postgresql(store: Engine) -> None:
    found = inspect(store)
    unique = [constraint["column_names"] for constraint in found.get_unique_constraints("activities")]
    plain = [index["column_names"] for index in found.get_indexes("activities") if not index["unique"]]
    assert unique == [["person_id", "key"]]
    assert (
        sorted(plain)
        == {
            "sqlite": [["person_id", "occurred_at"]],
            "postgresql": [["person_id", "occurred_at"], ["site_id", "id"]],
        }[store.dialect.name]
    )


def test_the_unknown_person_and_space_and_the_first_generation_are_there(store: Engine) -> None:
    assert rows(store, "SELECT id, site_id, account_id, kind, state FROM people") == [(0, 0, None, "person", "active")]
    assert rows(store, "SELECT id, site_id, space_key FROM spaces") == [(0, 0, None)]
    assert rows(store, "SELECT name, value FROM meta") == [("generation", "1")]


def test_an_id_is_never_given_twice(store: Engine) -> None:
    record(store, act(1), act(2))
    with write_transaction(store) as connection:
        connection.exec_driver_sql("DELETE FROM activities")
    record(store, act(3))
    assert rows(store, "SELECT id FROM activities") == [(3,)]


def test_migrating_again_changes_nothing(store: Engine) -> None:
    record(store, act(1, space_key="ENG"))
    before = rows(store, "SELECT * FROM activity_log"), rows(store, "SELECT version_num FROM alembic_version")
    migrate(store)
    migrate(store)
    assert (rows(store, "SELECT * FROM activity_log"), rows(store, "SELECT version_num FROM alembic_version")) == before
    assert is_current(store)


def test_a_database_without_tables_is_not_current(blank_store_url: str) -> None:
    engine = blank(blank_store_url)
    assert not is_current(engine)
    migrate(engine)
    assert is_current(engine)
    engine.dispose()


def test_four_processes_at_once_make_the_tables_once(blank_store_url: str) -> None:
    commands = [[sys.executable, "-c", MIGRATE, blank_store_url]] * 4
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands]
    ended = [(process.communicate(timeout=60), process.returncode) for process in running]
    assert [(out, code) for (out, _), code in ended] == [("done\n", 0)] * 4, ended
    engine = blank(blank_store_url)
    assert rows(engine, "SELECT id FROM people") == [(0,)]
    engine.dispose()


def test_a_migration_killed_half_way_leaves_nothing_and_the_next_one_completes(blank_store_url: str) -> None:
    killed = run(KILLED, blank_store_url)
    assert (killed.stdout, killed.returncode) == ("half-way\n", -signal.SIGKILL), killed.stderr
    engine = blank(blank_store_url)
    assert "activities" not in inspect(engine).get_table_names()
    migrate(engine)
    assert record(engine, act(1)) == (1, 0)
    assert len(rows(engine, "SELECT * FROM activity_log")) == 1
    engine.dispose()


@pytest.mark.parametrize("function", [migrate, is_current])
def test_a_store_of_a_newer_version_is_refused_in_one_sentence(store: Engine, function: Callable[[Engine], object]) -> None:
    with write_transaction(store) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"^The store was made by a newer version of this program \(tables 9999\)[^.]*\.$"):
        function(store)


def test_a_reader_sees_one_state_while_others_write(store: Engine) -> None:
    record(store, act(1))
    with read_transaction(store) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM activities").scalar() == 1
        record(store, act(2))
        assert connection.exec_driver_sql("SELECT count(*) FROM activities").scalar() == 1
    assert rows(store, "SELECT count(*) FROM activities") == [(2,)]


def test_writers_come_one_after_the_other_so_that_ids_appear_in_their_order(store: Engine) -> None:
    order: list[str] = []
    started = threading.Event()

    def second() -> None:
        started.set()
        with write_transaction(store):
            order.append("second")

    other = threading.Thread(target=second)
    with write_transaction(store):
        other.start()
        started.wait(10)
        time.sleep(0.3)
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]
