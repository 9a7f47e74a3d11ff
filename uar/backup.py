"""Backup and restore of all that cannot be made again: the store, and what was acknowledged but is not in the store yet.

A backup is a folder with `spool.db` and either `uar.db` (SQLite) or `uar.dump` (PostgreSQL). The spool is copied first: a delivery that
moves into the store meanwhile is then in both, which is harmless, instead of in neither.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from uar.capture.spool import add_deliveries, sole_owner
from uar.config import Settings
from uar.store.backup import check_sqlite, copy_sqlite, dump_postgresql, load_postgresql, sqlite_file, sync
from uar.store.database import StoreError, open_store, write_transaction
from uar.store.writes import renew_generation

SPOOL, STORE, DUMP = "spool.db", "uar.db", "uar.dump"


def back_up(settings: Settings, folder: Path) -> list[Path]:
    """Write a backup into a new or empty folder, also while worker and dashboard run; returns the files.

    Raises `StoreError` if the folder holds something, `StoreUnavailable` if a part cannot be copied.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty. Give each backup a folder of its own.")
    url = settings.database_url.reveal()
    if settings.spool_path.exists():
        copy_sqlite(settings.spool_path, folder / SPOOL)
    file = sqlite_file(url)
    if file is None:
        dump_postgresql(url, folder / DUMP)
    else:
        if not file.exists():
            raise StoreError(f"There is no store at {file} to back up.")
        copy_sqlite(file, folder / STORE)
    return sorted(folder.iterdir())


def restore(settings: Settings, folder: Path) -> None:
    """Bring a backup back. The worker must not run, and there must be no store yet: nothing is ever overwritten.

    Deliveries of the backup's spool are added to those that wait here. Raises `StoreError`, `StoreUnavailable`, `DataDirInUse`.
    """
    url = settings.database_url.reveal()
    file = sqlite_file(url)
    source = folder / (DUMP if file is None else STORE)
    if not source.is_file():
        raise StoreError(f"{folder} holds no {source.name}: it is no backup of the kind of store that UAR_DATABASE_URL names.")
    with sole_owner(settings.data_dir):
        if (folder / SPOOL).exists():
            check_sqlite(folder / SPOOL)
        if file is None:
            load_postgresql(url, source)
        else:
            _restore_file(source, file)
        _renew(url)
        if (folder / SPOOL).exists():
            add_deliveries(settings.spool_path, folder / SPOOL)


def _renew(url: str) -> None:
    """A dashboard that runs, and a mirror's cache, must not go on with what they know of the store before."""
    engine = open_store(url)
    try:
        with write_transaction(engine) as connection:
            renew_generation(connection, time.time_ns() // 1_000_000)
    finally:
        engine.dispose()


def _restore_file(source: Path, file: Path) -> None:
    if file.exists():
        raise StoreError(f"There is a store at {file} already. Move it away first (with its -wal and -shm files).")
    check_sqlite(source)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    shutil.copyfile(source, part)
    sync(part)
    part.rename(file)
    sync(file.parent)
