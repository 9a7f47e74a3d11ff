"""The file of a SQLite store: its settings, and never another file, an empty one or a damaged one without a word.

A connection keeps a file open that was removed or replaced; what it commits then is gone. So every use of the store first looks whether
the file is still the one it has open, and every commit looks once more.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pysqlite3 import dbapi2 as sqlite3
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, exc

from uar.store.errors import StoreDamaged, StoreError, StoreUnavailable

# Older libraries, Debian 12's included, can corrupt a WAL database (sqlite.org/wal.html#walresetbug).
NEEDED = (3, 51, 3)
BUSY_S = 10  # longer than any transaction of ours; then the caller waits and tries again
PRAGMAS = (
    "PRAGMA synchronous = FULL",  # in WAL mode anything less may lose the last commits at a power cut (sqlite.org/pragma.html)
    "PRAGMA secure_delete = ON",  # an erased name must be gone from the file, and the wheel's default is OFF
    "PRAGMA cache_size = -65536",  # 64 MiB: keys arrive in random order, so the upper pages of their index should stay in memory
    "PRAGMA journal_size_limit = 67108864",  # a WAL that a long reader made large shrinks again
)
WRITE = "uar_write"  # execution option of a connection whose transaction will write
DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
CHECK_STEPS = 50_000  # of SQLite's machine, between two looks at the clock


def sqlite_engine(address: URL, *, read_only: bool, **options: Any) -> Engine:
    """The engine of a SQLite store, which makes its folder and, once, its file. Raises `StoreUnavailable` or `StoreError`."""
    if sqlite3.sqlite_version_info < NEEDED:
        needed = ".".join(map(str, NEEDED))
        raise StoreError(f"SQLite {sqlite3.sqlite_version} can damage the store; version {needed} or later is needed (wheel pysqlite3).")
    if address.database in (None, "", ":memory:"):
        raise StoreError("UAR_DATABASE_URL names no file: the store needs sqlite:///path, memory is not kept.")
    path = Path(str(address.database)).absolute()
    if read_only and not path.is_file():
        raise StoreUnavailable(f"The store {path} does not exist yet: start the worker or load the sample site first.")
    _make_folder(path.parent)
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, module=sqlite3, creator=_Opener(path, read_only), poolclass=QueuePool, **options)
    event.listen(engine, "connect", lambda connection, record: record.info.update(file=_identity(path)))
    event.listen(engine, "checkout", lambda connection, record, proxy: _demand_same(path, record.info))
    event.listen(engine, "begin", _begin)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"The folder {folder} of the store cannot be made ({error.strerror}).") from error


class _Opener:
    """Opens connections; only the first one may make the file."""

    def __init__(self, path: Path, read_only: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._mode = "ro" if read_only else "rwc"

    def __call__(self) -> Any:
        if self._mode == "rw":
            _demand_there(self._path)
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode={self._mode}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,  # transactions begin where we say so, see _begin
            check_same_thread=False,  # the pool hands a connection to one thread at a time
        )
        if not self._read_only:
            # Readers and the writer do not wait for one another (sqlite.org/wal.html).
            connection.execute("PRAGMA journal_mode = WAL")
            self._mode = "rw"
        for pragma in PRAGMAS:
            connection.execute(pragma)
        return connection


def _begin(connection: Connection) -> None:
    # A transaction that first reads and then writes fails at once when another one wrote in between, whatever the timeout
    # (sqlite.org/rescode.html#busy_snapshot), so one that will write says so at its start.
    is_write = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _identity(path: Path) -> tuple[int, int]:
    """Which file is there and how long it is, in bytes; zeros if there is none."""
    with suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_size
    return 0, 0


def _is_same(path: Path, info: dict[str, Any]) -> bool:
    """Whether a connection has the file open that is there now. One that became shorter is another: what is cached of it is wrong."""
    inode, size = info["file"]
    found, found_size = _identity(path)
    info["file"] = (inode, max(size, found_size))
    return bool(found == inode and found_size >= size)


def _demand_there(path: Path) -> None:
    if not path.is_file():
        raise StoreUnavailable(
            f"The store {path} is gone: put the file back, or stop the worker and bring a backup back (python -m uar restore FOLDER)."
        )


def _demand_same(path: Path, info: dict[str, Any]) -> None:
    if not _is_same(path, info):
        raise exc.DisconnectionError("the file of the store is another one")  # the pool opens the one that is there now


def demand_file(connection: Connection) -> None:
    """Raises `StoreUnavailable` if the file that this connection has open is no longer the store's."""
    path = Path(str(connection.engine.url.database))
    _demand_there(path)
    if not _is_same(path, connection.info):
        raise StoreUnavailable(f"The store {path} was replaced or cut off while it was written to.")


def is_damage(error: BaseException | None) -> bool:
    """Whether the driver says that the file is damaged, or no database at all."""
    return getattr(error, "sqlite_errorname", "").startswith(DAMAGE)


def damage_sentence(engine: Engine, why: str) -> str:
    """What is wrong with the file and what to do."""
    return (
        f"The store {engine.url.database} is damaged ({why}): stop the worker, move the file away (with its -wal and -shm) and bring a "
        "backup back (python -m uar restore FOLDER)."
    )


def demand_sound(connection: Connection, limit_s: float) -> None:
    """Looks through the file, for so long at most, and raises `StoreDamaged` if a page does not fit the others."""
    raw: Any = connection.connection.dbapi_connection
    deadline = time.monotonic() + limit_s
    raw.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_STEPS)
    try:
        found = raw.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            return  # the time is over, or the file cannot be read now, which whoever uses it will notice
        found = str(error)
    finally:
        raw.set_progress_handler(None, 0)
    if found != "ok":
        raise StoreDamaged(damage_sentence(connection.engine, str(found).splitlines()[-1]))
