"""Opening the store: SQLite by default, PostgreSQL by URL.

`open_store` makes the engine, `migrate` brings the tables up to date, `write_transaction` and `read_transaction` are the only two ways in.
Whatever the driver raises leaves here as one of two exceptions, each a sentence for people:

    StoreUnavailable   the store cannot be reached or cannot write right now: wait and try again
    StoreError         trying again does not help: wrong version, damaged file, values that it refuses
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pysqlite3 import dbapi2 as sqlite3
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, exc, make_url, text

__all__ = [
    "Connection",
    "Engine",
    "StoreError",
    "StoreUnavailable",
    "is_current",
    "migrate",
    "open_store",
    "read_transaction",
    "write_transaction",
]

# Older libraries, Debian 12's included, can corrupt a WAL database (sqlite.org/wal.html#walresetbug).
SQLITE_NEEDED = (3, 51, 3)
SQLITE_BUSY_S = 10  # longer than any transaction of ours; then the caller waits and tries again
SQLITE_PRAGMAS = (
    "PRAGMA synchronous = FULL",  # in WAL mode anything less may lose the last commits at a power cut (sqlite.org/pragma.html)
    "PRAGMA secure_delete = ON",  # an erased name must be gone from the file, and the wheel's default is OFF
    "PRAGMA cache_size = -65536",  # 64 MiB: keys arrive in random order, so the upper pages of their index should stay in memory
    "PRAGMA journal_size_limit = 67108864",  # a WAL that a long reader made large shrinks again
)
INSERT_PAGE = 1_000  # rows per INSERT statement
WRITE = "uar_write"  # execution option of a connection whose transaction will write

# Fixed numbers that stand for our two locks; pg_advisory locks are per database.
DRAIN_LOCK = 0x75_61_72_01
MIGRATION_LOCK = 0x75_61_72_02
# A server that vanished must not hold the drain for ever: statement_timeout ends what the server still works on, the keepalives and
# tcp_user_timeout end a connection into a black hole (postgresql.org/docs/current/libpq-connect.html).
POSTGRESQL_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s -c timezone=UTC",
    "application_name": "user-activity-report",
}


class StoreUnavailable(Exception):
    """The store cannot be used at the moment; the same call may succeed later."""


class StoreError(Exception):
    """The store cannot be used, or refuses these values, until somebody changes something."""


def open_store(url: str, *, read_only: bool = False) -> Engine:
    """The engine of the store at a SQLAlchemy URL; connects lazily, except that SQLite makes its file and folder.

    With `read_only` a SQLite file must exist already. Raises `StoreUnavailable` or `StoreError`.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(address, read_only)
    return _open_postgresql(address, read_only)


def _open_sqlite(address: URL, read_only: bool) -> Engine:
    if sqlite3.sqlite_version_info < SQLITE_NEEDED:
        needed = ".".join(map(str, SQLITE_NEEDED))
        raise StoreError(f"SQLite {sqlite3.sqlite_version} can damage the store; version {needed} or later is needed (wheel pysqlite3).")
    if address.database in (None, "", ":memory:"):
        raise StoreError("UAR_DATABASE_URL names no file: the store needs sqlite:///path, memory is not kept.")
    path = Path(str(address.database)).absolute()
    if read_only and not path.is_file():
        raise StoreUnavailable(f"The store {path} does not exist yet: start the worker or load the sample site first.")
    _make_folder(path.parent)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        module=sqlite3,
        creator=partial(_connect_sqlite, path, read_only),
        poolclass=QueuePool,
        insertmanyvalues_page_size=INSERT_PAGE,
    )
    event.listen(engine, "begin", _begin_sqlite)
    with _sentences(), engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA schema_version")  # says now, not at the first event, that the file is no database
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"The folder {folder} of the store cannot be made ({error.strerror}).") from error


def _connect_sqlite(path: Path, read_only: bool) -> Any:
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=SQLITE_BUSY_S,
        isolation_level=None,  # transactions begin where we say so, see _begin_sqlite
        check_same_thread=False,  # the pool hands a connection to one thread at a time
    )
    if not read_only:
        # Readers and the writer do not wait for one another (sqlite.org/wal.html).
        connection.execute("PRAGMA journal_mode = WAL")
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma)
    return connection


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that first reads and then writes fails at once when another one wrote in between, whatever the timeout
    # (sqlite.org/rescode.html#busy_snapshot), so one that will write says so at its start.
    is_write = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _open_postgresql(address: URL, read_only: bool) -> Engine:
    arguments = dict(POSTGRESQL_ARGUMENTS)
    if read_only:
        arguments["options"] += " -c default_transaction_read_only=on"
    return create_engine(
        address.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,  # after a restart of the server the first query gets a fresh connection instead of an error
        connect_args=arguments,
        insertmanyvalues_page_size=INSERT_PAGE,
    )


@contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write: commits at the end, rolls back on any exception.

    One at a time in the whole store, so that ids become visible in their order. Raises `StoreUnavailable` or `StoreError`.
    """
    with _sentences(), engine.connect() as plain:
        connection = plain.execution_options(**{WRITE: True})
        with connection.begin():
            _lock(connection, DRAIN_LOCK)
            yield connection


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads and sees one state of the store. Raises `StoreUnavailable` or `StoreError`."""
    with _sentences(), engine.connect() as plain:
        connection = plain.execution_options(isolation_level="REPEATABLE READ") if engine.dialect.name == "postgresql" else plain
        with connection.begin():
            yield connection


def _lock(connection: Connection, number: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what the driver raises into our two exceptions; the driver's own text may hold values, so only its first line is kept."""
    try:
        yield
    except exc.OperationalError as error:
        raise StoreUnavailable(f"The store cannot be used now: {_reason(error)}.") from error
    except (exc.InterfaceError, exc.TimeoutError) as error:
        raise StoreUnavailable(f"The store cannot be reached: {_reason(error)}.") from error
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable(f"The connection to the store broke: {_reason(error)}.") from error
        raise StoreError(f"The store refused: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    lines = str(original).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(original).__name__


def migrate(engine: Engine) -> None:
    """Bring the tables to this program's version. Does nothing when they are; safe from several processes at once and to interrupt.

    Everything happens in one transaction, which both databases undo as a whole. Raises `StoreError` if the store is newer.
    """
    config = _alembic()
    script = ScriptDirectory.from_config(config)
    with _sentences(), engine.connect() as plain:
        connection = plain.execution_options(**{WRITE: True})
        with connection.begin():
            _lock(connection, MIGRATION_LOCK)
            _refuse_newer(connection, script)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", "uar.store:migrations")
    return config


def _refuse_newer(connection: Connection, script: ScriptDirectory) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    for found in MigrationContext.configure(connection).get_current_heads():
        if found not in known:
            raise StoreError(f"The store was made by a newer version of this program (tables {found}): install that version again.")


def is_current(engine: Engine) -> bool:
    """Whether the tables are those of this program; False for a store without tables. Raises `StoreUnavailable` or `StoreError`."""
    script = ScriptDirectory.from_config(_alembic())
    with read_transaction(engine) as connection:
        _refuse_newer(connection, script)
        return set(MigrationContext.configure(connection).get_current_heads()) == set(script.get_heads())
