"""The spool's file: its table, its one owner, its reader, and what becomes of it when it is damaged, looked at, or joined with a backup.

The worker's queue and writer around it: `uar.capture.spool`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pysqlite3 import dbapi2 as sqlite

from uar.activity import Source
from uar.capture.delivery import Delivery

BUSY_MS = 1_000
LOW_DISK = 0.05
CACHED_STATEMENTS = 256  # more than the writer has
# Deliveries that came closer together than this were taken by one run of a worker; a shorter gap is not shown either.
APART_MS = 15 * 60_000

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source INTEGER NOT NULL,
    site TEXT NOT NULL,
    event_name TEXT,
    delivery_id TEXT,
    received_at INTEGER NOT NULL,
    body BLOB NOT NULL
)
"""
COLUMNS = "source, site, event_name, delivery_id, received_at, body"
INSERT = f"INSERT INTO deliveries ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"


class SpoolBroken(Exception):
    """The spool's file cannot be used; the message is a sentence."""


class DataDirInUse(Exception):
    """Another worker has the data directory; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in a spool file: number of deliveries, arrival of the oldest (epoch milliseconds; None: there is none), bytes in use.

    `free_share` of the file's disk is free, from 0 to 1.
    """

    count: int
    oldest_at: int | None
    bytes: int
    free_share: float


def waiting(path: Path) -> Waiting:
    """What lies in the spool of a worker that may be running; raises `SpoolBroken` if it cannot be read."""
    try:
        with closing(_read_only(path)) as connection:
            count, oldest = connection.execute("SELECT count(*), min(received_at) FROM deliveries").fetchone()
            pages = connection.execute("PRAGMA page_count").fetchone()[0] - connection.execute("PRAGMA freelist_count").fetchone()[0]
            size = pages * connection.execute("PRAGMA page_size").fetchone()[0]
            return Waiting(count, oldest, size, free_share(path))
    except (sqlite.Error, OSError) as error:
        raise SpoolBroken(f"The spool {path} cannot be read ({error}).") from error


def free_share(path: Path) -> float:
    """How much of the file's disk is free for this user, from 0 to 1; 1 where a file system does not tell. Raises `OSError`."""
    found = os.statvfs(path)
    return found.f_bavail / found.f_blocks if found.f_blocks else 1.0


def is_low(share: float) -> bool:
    """Whether so little of a disk is free that somebody should make room before deliveries are turned away."""
    return share < LOW_DISK


def arrived(path: Path, before: int) -> list[tuple[int, int]]:
    """First and last arrival of each run of waiting deliveries that came before an instant, in epoch milliseconds: a worker was up then.

    Raises `SpoolBroken`.
    """
    spans: list[tuple[int, int]] = []
    try:
        with closing(_read_only(path)) as connection:
            for (at,) in connection.execute("SELECT received_at FROM deliveries WHERE received_at < ? ORDER BY received_at", (before,)):
                if spans and at - spans[-1][1] < APART_MS:
                    spans[-1] = (spans[-1][0], at)
                else:
                    spans.append((at, at))
    except sqlite.Error as error:
        raise SpoolBroken(f"The spool {path} cannot be read ({error}).") from error
    return spans


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in one spool file: the file's inode and an id, after which reading goes on. It says nothing about any other file."""

    file: int = 0
    id: int = 0


@dataclass(frozen=True, slots=True)
class Spooled:
    """One waiting delivery and its place in the order of arrival."""

    mark: Mark
    delivery: Delivery


class SpoolReader:
    """Reads what waits through a connection that cannot write; for one thread, in the worker's process or in another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: Any = None
        self._file = 0

    def take(self, after: Mark, count: int, max_bytes: int) -> list[Spooled]:
        """The next deliveries in order of arrival, at least one if any waits; a file that took its place is read from the start.

        Raises `SpoolBroken`.
        """
        try:
            if (self._connection is None or self._path.stat().st_ino != self._file) and not self._open():
                return []
            taken = self._rows(after.id if after.file == self._file else 0, count, max_bytes)
            # A file that was replaced meanwhile shares its index with the new one, so what was read may be anything.
            if self._path.stat().st_ino != self._file:
                raise SpoolBroken("The spool's file was replaced while it was read.")
        except (sqlite.Error, OSError) as error:
            raise SpoolBroken(f"The spool cannot be read ({error}).") from error
        return taken

    def close(self) -> None:
        """Closes the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> bool:
        """False for a file that is only being made: it has no table yet."""
        self.close()
        self._file = self._path.stat().st_ino
        self._connection = _read_only(self._path)
        if self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'deliveries'").fetchone():
            return True
        self.close()
        return False

    def _rows(self, after_id: int, count: int, max_bytes: int) -> list[Spooled]:
        cursor = self._connection.execute(f"SELECT id, {COLUMNS} FROM deliveries WHERE id > ? ORDER BY id LIMIT ?", (after_id, count))
        with closing(cursor):  # an open read would keep the log from being cut
            return [Spooled(Mark(self._file, number), delivery) for number, delivery in within(cursor, max_bytes)]


def within(rows: Iterable[tuple[Any, ...]], max_bytes: int) -> Iterator[tuple[int, Delivery]]:
    """Ids and deliveries of rows of the table, at least one if there is any, until their bodies have so many bytes."""
    for row in rows:
        yield row[0], Delivery(Source(row[1]), *row[2:])
        max_bytes -= len(row[6])
        if max_bytes <= 0:
            break


def _read_only(path: Path) -> Any:
    return sqlite.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000
    )


@contextmanager
def sole_owner(data_dir: Path) -> Iterator[None]:
    """Holds the data directory for this process; raises `DataDirInUse`. The lock ends with the process, however it ends."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / "worker.lock", "a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataDirInUse(f"Another worker uses {data_dir}. Stop it, or give this one its own UAR_DATA_DIR.") from None
        yield


def open_file(path: Path, after_id: int = 0) -> Any:
    """A writing connection to a sound spool file, made if it is missing; a damaged one is set aside and what is readable is kept.

    A file that is made begins after `after_id`: whoever reads along must not take new deliveries for old ones.
    """
    is_there = path.exists()
    try:
        connection = connected(path, check=is_there)
    except sqlite.DatabaseError as error:
        if not is_there or (isinstance(error, sqlite.OperationalError) and "malformed" not in str(error)):
            raise
        return _replaced(path, str(error), after_id)
    _begin_after(connection, after_id)
    if not is_there:
        _sync_folder(path.parent)
    return connection


def remove_file(path: Path) -> None:
    """Takes a spool file and its log away. Raises `OSError`."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def connected(path: Path, *, check: bool) -> Any:
    """A writing connection whose every commit waits for the disk; with `check` a damaged file raises `sqlite.DatabaseError`."""
    connection = sqlite.connect(
        str(path), isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000, cached_statements=CACHED_STATEMENTS
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # an erased name must be gone from the file as well
        if check and connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite.DatabaseError("database disk image is malformed")
        connection.execute(SCHEMA)
        connection.execute(f"SELECT id, {COLUMNS} FROM deliveries LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def last_id(connection: Any) -> int:
    """The highest id that this file ever gave (sqlite.org/autoinc.html)."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'").fetchone()
    return 0 if found is None else int(found[0])


def _begin_after(connection: Any, after_id: int) -> None:
    if after_id > last_id(connection):
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'deliveries'")
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('deliveries', ?)", (after_id,))


def _replaced(path: Path, why: str, after_id: int) -> Any:
    """A fresh file in place of a damaged one, with every row that could still be read."""
    aside = path.with_name(f"spool-damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}.db")
    for ending in ("", "-wal", "-shm"):
        if (part := path.with_name(path.name + ending)).exists():
            part.rename(aside.with_name(aside.name + ending))
    connection = connected(path, check=False)
    _begin_after(connection, after_id)
    rows = salvaged_rows(aside)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(INSERT, rows)
    connection.execute("COMMIT")
    _sync_folder(path.parent)
    log.error("The spool file was damaged (%s). It is kept as %s; %d deliveries could be read from it.", why, aside.name, len(rows))
    return connection


def salvaged_rows(path: Path) -> list[tuple[Any, ...]]:
    """Every row of a damaged file that is readable from its beginning or from its end, in order."""
    rows: dict[int, tuple[Any, ...]] = {}
    for order in ("ASC", "DESC"):
        try:
            connection = sqlite.connect(str(path), isolation_level=None)
            connection.execute("PRAGMA writable_schema=ON")  # else a file that is too short is not read at all
            for row in connection.execute(f"SELECT id, {COLUMNS} FROM deliveries ORDER BY id {order}"):
                rows[row[0]] = row[1:]
        except sqlite.DatabaseError:
            continue
    return [rows[key] for key in sorted(rows)]


def add_deliveries(path: Path, other: Path) -> None:
    """Adds the deliveries of another spool file, such as a backup's, to the spool of a worker that does not run.

    Raises `SpoolBroken`. Deliveries that were in both are stored once all the same.
    """
    try:
        connection = open_file(path)
        connection.execute("ATTACH ? AS other", (str(other),))
        connection.execute(f"INSERT INTO main.deliveries ({COLUMNS}) SELECT {COLUMNS} FROM other.deliveries ORDER BY id")
        connection.execute("DETACH other")
        connection.close()
    except sqlite.Error as error:
        raise SpoolBroken(f"The deliveries of {other} cannot be added to {path} ({error}).") from error


def _sync_folder(folder: Path) -> None:
    """Makes the file's name durable, not only its content (man 2 fsync)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
