"""Files that somebody takes away, replaces, cuts off, locks or reads for long while the worker runs: nothing acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from tests.reliability.running import RunningWorker
from tests.reliability.sender import Ledger, Sender, send_until_acked
from tests.reliability.verdict import assert_nothing_lost


def removed(file: Path) -> None:
    """Takes a database away, with its log."""
    for part in file.parent.glob(f"{file.name}*"):
        part.unlink()


def emptied(file: Path) -> None:
    """Puts an empty file in its place."""
    removed(file)
    file.touch()


def cut_off(file: Path) -> None:
    """Takes the second half of it."""
    os.truncate(file, file.stat().st_size // 2)


@contextmanager
def settled(folder: Path, ledger: Ledger) -> Iterator[tuple[RunningWorker, Path, Path]]:
    """A worker whose first deliveries are in the store, its spool and its store, both whole without their logs."""
    with RunningWorker(folder / "data") as worker:
        send(worker, ledger, 300)
        worker.wait_drained()
        spool, store = folder / "data" / "spool.db", folder / "data" / "uar.db"
        for file in (spool, store):
            with closing(sqlite.connect(str(file))) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield worker, spool, store


def send(worker: RunningWorker, ledger: Ledger, count: int) -> None:
    start = max(ledger.sent, default=-1) + 1
    with Sender(worker.port, ledger, range(start, start + count)) as sender:
        sender.join()


@pytest.mark.parametrize("harm", [removed, cut_off])
def test_a_store_that_is_taken_away_is_missed_and_never_made_anew(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    ledger = Ledger()
    with settled(tmp_path, ledger) as (worker, _, store):
        shutil.copy(store, tmp_path / "good.db")
        harm(store)
        send(worker, ledger, 300)
        time.sleep(0.3)
        assert (dict(ledger.statuses), ledger.broken) == ({202: 600}, 0)
        assert worker.metric("uar_spool_deliveries") == 300
        assert worker.readiness() == (200, b"degraded: the store cannot be used\n")
        assert "python -m uar restore FOLDER" in worker.log_text()
        assert harm is not removed or not store.exists()
        removed(store)
        (tmp_path / "good.db").rename(store)
        worker.wait_drained()
    assert_nothing_lost(worker.database_url, ledger)


@pytest.mark.parametrize("harm", [removed, emptied, cut_off])
def test_a_spool_that_is_taken_away_loses_nothing_that_is_acknowledged_then(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    ledger = Ledger()
    with settled(tmp_path, ledger) as (worker, spool, _):
        harm(spool)
        send(worker, ledger, 300)
        assert ledger.statuses.keys() <= {202, 503}
        send_until_acked(worker.port, ledger)
        worker.wait_drained()
        assert worker.readiness() == (200, b"ready\n")
    assert_nothing_lost(worker.database_url, ledger)
