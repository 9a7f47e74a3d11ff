"""Opening the store: SQLite by default, PostgreSQL by URL.

`open_store` makes the engine, `migrate` brings the tables up to date, `write_transaction` and `read_transaction` are the only two ways in.
Whatever the driver raises leaves here as one of two exceptions, each a sentence for people (`uar.store.errors`): `StoreUnavailable`, where
waiting helps, and `StoreError`, where it does not. The file of a SQLite store: `uar.store.sqlite_file`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, exc, inspect, make_url, text

from uar.store.errors import StoreDamaged, StoreError, StoreUnavailable
from uar.store.sqlite_file import WRITE, damage_sentence, demand_file, demand_sound, is_damage, sqlite_engine

__all__ = [
    "Connection",
    "Engine",
    "StoreDamaged",
    "StoreError",
    "StoreUnavailable",
    "is_current",
    "look_through",
    "migrate",
    "open_store",
    "read_transaction",
    "write_transaction",
]

CHECK_S = 1.0  # of a start, to look for damage in the file of the store
INSERT_PAGE = 1_000  # rows per INSERT statement

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

log = logging.getLogger(__name__)


def open_store(url: str, *, read_only: bool = False) -> Engine:
    """The engine of the store at a SQLAlchemy URL; connects lazily, except that SQLite makes its file and folder.

    With `read_only` a SQLite file must exist already. Raises `StoreUnavailable` or `StoreError`.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(address, read_only)
    return _open_postgresql(address, read_only)


def _open_sqlite(address: URL, read_only: bool) -> Engine:
    engine = sqlite_engine(address, read_only=read_only, insertmanyvalues_page_size=INSERT_PAGE)
    with _sentences(engine), engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA schema_version")  # says now, not at the first event, that the file is no database
    return engine


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
    with _sentences(engine), engine.connect() as plain:
        connection = plain.execution_options(**{WRITE: True})
        with connection.begin():
            _lock(connection, DRAIN_LOCK)
            yield connection
        if engine.dialect.name == "sqlite":
            demand_file(connection)  # what was committed to a file that is gone must not pass for stored


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads and sees one state of the store. Raises `StoreUnavailable` or `StoreError`."""
    with _sentences(engine), engine.connect() as plain:
        connection = plain.execution_options(isolation_level="REPEATABLE READ") if engine.dialect.name == "postgresql" else plain
        with connection.begin():
            yield connection


def _lock(connection: Connection, number: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


@contextmanager
def _sentences(engine: Engine) -> Iterator[None]:
    """Turn what the driver raises into our two exceptions; the driver's own text may hold values, so only its first line is kept."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _sentence(engine, error) from error
    except exc.TimeoutError as error:
        raise StoreUnavailable(f"The store cannot be reached: {_reason(error)}.") from error


def _sentence(engine: Engine, error: exc.DBAPIError) -> StoreUnavailable | StoreError:
    why = _reason(error)
    if is_damage(error.orig):
        return StoreDamaged(damage_sentence(engine, why))
    if isinstance(error, exc.OperationalError):
        return StoreUnavailable(f"The store cannot be used now: {why}.")
    if isinstance(error, exc.InterfaceError):
        return StoreUnavailable(f"The store cannot be reached: {why}.")
    if error.connection_invalidated:
        return StoreUnavailable(f"The connection to the store broke: {why}.")
    return StoreError(f"The store refused: {why}.")


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
    with _sentences(engine), engine.connect() as plain:
        connection = plain.execution_options(**{WRITE: True})
        with connection.begin():
            _lock(connection, MIGRATION_LOCK)
            if engine.dialect.name == "sqlite":
                demand_sound(connection, CHECK_S)
            is_new = not inspect(connection).has_table("alembic_version")
            _refuse_newer(connection, script)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    if is_new:
        log.info("The store %s was empty; its tables have been made.", engine.url.render_as_string(hide_password=True))


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", "uar.store:migrations")
    return config


def _refuse_newer(connection: Connection, script: ScriptDirectory) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    for found in MigrationContext.configure(connection).get_current_heads():
        if found not in known:
            raise StoreError(f"The store was made by a newer version of this program (tables {found}): install that version again.")


def look_through(engine: Engine, limit_s: float) -> None:
    """Looks for damage in the file of a SQLite store, for so long at most. Raises `StoreDamaged`; what can be wrong with another store
    is its server's business."""
    if engine.dialect.name == "sqlite":
        with read_transaction(engine) as connection:
            demand_sound(connection, limit_s)


def is_current(engine: Engine) -> bool:
    """Whether the tables are those of this program; False for a store without tables. Raises `StoreUnavailable` or `StoreError`."""
    script = ScriptDirectory.from_config(_alembic())
    with read_transaction(engine) as connection:
        _refuse_newer(connection, script)
        return set(MigrationContext.configure(connection).get_current_heads()) == set(script.get_heads())
