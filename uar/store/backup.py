"""Copies of a store in use, and the way back. Each copy is one state of the database, complete or not there at all.

    copy_sqlite, check_sqlite            the file of a SQLite database (the spool's too), by SQLite itself
    dump_postgresql, load_postgresql     by PostgreSQL's own pg_dump and pg_restore

Copying the file of a running SQLite database with cp leaves out what is still in its log; that is why there is a command for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from pysqlite3 import dbapi2 as sqlite3
from sqlalchemy import URL, inspect, make_url

from uar.store.database import Engine, StoreError, StoreUnavailable, open_store

BUSY_S = 10.0


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite store; None if the store is another database."""
    address = make_url(url)
    return Path(str(address.database)).absolute() if address.get_backend_name() == "sqlite" else None


def copy_sqlite(path: Path, target: Path) -> None:
    """Write one state of a SQLite database, also one that is being written to, to the new file `target`.

    The copy is checked and on disk when this returns. Raises `StoreUnavailable`.
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with closing(_connect(path)) as source:
            source.execute("VACUUM INTO ?", (str(part),))
        check_sqlite(part)
        os.chmod(part, 0o600)
        sync(part)
        part.rename(target)
        sync(target.parent)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be copied to {target.parent} ({error}).") from error
    finally:
        part.unlink(missing_ok=True)


def check_sqlite(path: Path) -> None:
    """Raises `StoreError` if the file is no sound SQLite database."""
    try:
        with closing(_connect(path)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise StoreError(f"{path} is damaged or no database ({found}). Use another backup.")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_S)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def dump_postgresql(url: str, target: Path) -> None:
    """Write one state of a PostgreSQL store, also of a busy one, to the new file `target`. Raises `StoreUnavailable`."""
    part = target.with_name(target.name + ".part")
    try:
        _run(url, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={part}", "--dbname")
        os.chmod(part, 0o600)
        sync(part)
        part.rename(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def load_postgresql(url: str, dump: Path) -> None:
    """Bring a dump into an empty database, as a whole or not at all. Raises `StoreError` and `StoreUnavailable`."""
    engine = open_store(url)
    try:
        if _has_tables(engine):
            raise StoreError("The database of UAR_DATABASE_URL has tables already. Restore into a new, empty one (createdb).")
    finally:
        engine.dispose()
    _run(url, "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", str(dump), "--dbname")


def _has_tables(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(inspect(connection).get_table_names())


def _run(url: str, name: str, *arguments: str) -> None:
    """Runs a program of PostgreSQL, whose last argument is the address without the password: arguments can be seen by others."""
    program = shutil.which(name)
    if program is None:
        raise StoreUnavailable(f"{name} is not installed here (Debian, Ubuntu: apt-get install postgresql-client).")
    with _address(make_url(url)) as address:
        done = subprocess.run([program, *arguments, address], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreUnavailable(f"{name} failed: {(done.stderr.strip().splitlines() or ['no reason given'])[0]}.")


@contextmanager
def _address(url: URL) -> Iterator[str]:
    """libpq's form of the address. A password goes by a file that only this user can read (see libpq-pgpass in its manual)."""
    plain = url._replace(drivername="postgresql", password=None)  # `URL.set` keeps what is to become None
    if url.password is None:
        yield plain.render_as_string()
        return
    with tempfile.NamedTemporaryFile("w", prefix="uar-pgpass-", encoding="utf-8") as file:
        password = str(url.password).replace("\\", "\\\\").replace(":", "\\:")
        file.write(f"*:*:*:*:{password}\n")
        file.flush()
        yield plain.update_query_dict({"passfile": file.name}).render_as_string()
