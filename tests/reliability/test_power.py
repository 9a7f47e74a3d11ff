"""Power cuts under load: what was acknowledged is on the disk, also what the kernel had not written by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.reliability.power import JOURNAL_LOST, JOURNAL_WRITTEN, cut_again_and_again, power_disk
from tests.reliability.test_start import finished, killed_migration, tables
from tests.reliability.verdict import assert_nothing_lost, judge
from uar.store.database import open_store

CUTS = 2  # on each file system; `python -m tests.reliability.soak power` does many more

# A worker whose spool leaves the syncing to the kernel, as SQLite's synchronous=NORMAL does until its log is copied. What is acknowledged
# waits there for a while, so that a cut at any moment finds some of it.
UNSYNCED = """
import runpy, sys
from uar.capture import drain, spool_file
synced = spool_file.connected
def unsynced(path, *, check):
    connection = synced(path, check=check)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=100000")
    return connection
spool_file.connected = unsynced
drain.GATHER_S = 2.0
sys.argv = ["uar", "worker"]
runpy.run_module("uar", run_name="__main__")
"""


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_power_cut_at_any_moment_loses_nothing(tmp_path: Path, kind: str) -> None:
    with power_disk(tmp_path / "disk", kind) as disk:
        url, ledger = cut_again_and_again(disk, CUTS)
        assert_nothing_lost(url, ledger)


def test_the_power_cut_does_lose_what_is_not_synced(tmp_path: Path) -> None:
    with power_disk(tmp_path / "disk", "ext4") as disk:
        url, ledger = cut_again_and_again(disk, 1, prefix=(sys.executable, "-c", UNSYNCED))
        engine = open_store(url)
        verdict = judge(engine, ledger)
        engine.dispose()
    assert verdict.lost, "The harness loses nothing even without syncs, so it proves nothing."


@pytest.mark.parametrize("how", [JOURNAL_LOST, JOURNAL_WRITTEN])
def test_a_power_cut_during_a_migration_leaves_all_or_nothing(tmp_path: Path, how: int) -> None:
    whole = finished(f"sqlite:///{tmp_path / 'whole.db'}")
    with power_disk(tmp_path / "disk", "ext4") as disk:
        url = f"sqlite:///{disk.folder / 'uar.db'}"
        killed_migration(url, 0.1, lambda: disk.cut(how))
        disk.restore()
        assert tables(url) in ([], whole)
        assert finished(url) == whole
