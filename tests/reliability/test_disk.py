"""A disk that is full, read-only, slow or damaged: senders are told to come again, nothing acknowledged is lost, and it heals by itself."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.children import ends_with_parent
from tests.reliability.conftest import ready, remount, small_disk
from tests.reliability.running import RunningWorker
from tests.reliability.sender import Ledger, Sender, send_until_acked
from tests.reliability.verdict import assert_nothing_lost, judge
from uar.store.database import open_store

RATE = 300.0
UNREACHABLE = "postgresql://nobody@127.0.0.1:1/none"


def fill(folder: Path, but: int = 0) -> Path:
    """A file that takes what room there is, but for so many bytes."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while shutil.disk_usage(folder).free > but:
                file.write(b"\0" * 65_536)
        except OSError:
            pass
    return filler


def wait_for(ledger: Ledger, status: int, more: int = 20, limit_s: float = 60.0) -> None:
    """Waits until so many more answers had that status."""
    wanted = ledger.statuses[status] + more
    deadline = time.monotonic() + limit_s
    while ledger.statuses[status] < wanted:
        assert time.monotonic() < deadline, f"no {status}: {dict(ledger.statuses)}"
        time.sleep(0.05)


def wait_readiness(worker: RunningWorker, said: bytes, limit_s: float = 60.0) -> None:
    """Waits until /readyz is 200 and says this."""
    deadline = time.monotonic() + limit_s
    while worker.readiness() != (200, said):
        assert time.monotonic() < deadline, worker.readiness()
        time.sleep(0.05)


def test_a_full_disk_under_the_spool_gets_503_and_heals_by_itself(tmp_path: Path) -> None:
    ledger = Ledger()
    with small_disk(tmp_path / "disk", 12) as disk:
        url = f"sqlite:///{tmp_path / 'uar.db'}"
        with RunningWorker(disk / "data", url) as worker, Sender(worker.port, ledger, itertools.count(), rate=RATE) as sender:
            wait_for(ledger, 202)
            filler = fill(disk)
            wait_for(ledger, 503)
            assert worker.ask("/healthz")[0] == 200
            assert worker.readiness()[0] == 503
            filler.unlink()
            wait_for(ledger, 202, 200)
            sender.stop()
            send_until_acked(worker.port, ledger)
            worker.wait_drained()
            assert worker.readiness() == (200, b"ready\n")
            log, deadline = disk / "data" / "spool.db-wal", time.monotonic() + 30
            while log.stat().st_size:  # an idle worker cuts it, and that makes room
                assert time.monotonic() < deadline, "the spool's log is not cut"
                time.sleep(0.05)
            filler = fill(disk, 500_000)
            wait_readiness(worker, b"degraded: the disk of UAR_DATA_DIR is nearly full\n")
            with Sender(worker.port, ledger, range(10_000_000, 10_000_001)) as sender:
                sender.join()
            assert 0 < worker.metric("uar_disk_free_ratio") < 0.05
            filler.unlink()
            wait_readiness(worker, b"ready\n")
            worker.wait_drained()
            assert (worker.answers("accepted"), worker.answers("not_durable")) == (ledger.statuses[202], ledger.statuses[503])
        assert ledger.statuses.keys() == {202, 503}
        assert ledger.without_retry_after == 0
        assert max(ledger.seconds) < 5.0
        assert_nothing_lost(url, ledger)


def test_a_disk_that_the_spool_filled_while_the_store_was_away_is_free_again_once_the_store_is_back(tmp_path: Path) -> None:
    ledger = Ledger()
    store = tmp_path / "uar.db"
    url = f"sqlite:///{store}"
    ready(url)
    with small_disk(tmp_path / "disk", 6) as disk, RunningWorker(disk / "data", url) as worker:
        with closing(sqlite3.connect(store, isolation_level=None)) as other, Sender(worker.port, ledger, itertools.count()) as sender:
            other.execute("BEGIN EXCLUSIVE")
            wait_for(ledger, 503)
            sender.stop()
        send_until_acked(worker.port, ledger)
        worker.wait_drained()
        wait_readiness(worker, b"ready\n")
        assert shutil.disk_usage(disk).free > 3_000_000
    assert_nothing_lost(url, ledger)


def test_a_full_disk_under_the_store_is_noticed_by_no_sender(tmp_path: Path) -> None:
    ledger = Ledger()
    with small_disk(tmp_path / "disk", 12) as disk:
        url = f"sqlite:///{disk / 'uar.db'}"
        with RunningWorker(tmp_path / "data", url) as worker, Sender(worker.port, ledger, itertools.count(), rate=RATE) as sender:
            wait_for(ledger, 202)
            filler = fill(disk)
            wait_for(ledger, 202, 600)
            assert worker.metric("uar_spool_deliveries") > 100
            filler.unlink()
            wait_for(ledger, 202)
            sender.stop()
            worker.wait_drained()
        assert set(ledger.statuses) == {202}
        assert_nothing_lost(url, ledger)


def test_a_spool_at_its_limit_sheds_with_503_and_drops_nothing(tmp_path: Path) -> None:
    ledger = Ledger()
    url = f"sqlite:///{tmp_path / 'uar.db'}"
    worker = RunningWorker(tmp_path / "data", UNREACHABLE, spool_limit_mb="1")
    with worker:
        with Sender(worker.port, ledger, itertools.count()) as sender:
            wait_for(ledger, 503, 100)
            assert worker.readiness() == (503, b"the spool is full\n")
            sender.stop()
        assert ledger.acked
        assert (worker.answers("accepted"), worker.answers("overloaded")) == (ledger.statuses[202], ledger.statuses[503])
        assert worker.metric("uar_spool_deliveries") == len(ledger.acked)
        assert 900_000 < worker.metric("uar_spool_bytes") < 1_200_000
        assert ledger.without_retry_after == 0
        worker.terminate()
        worker.database_url = url
        worker.start(wait=False)
        time.sleep(1.0)
        send_until_acked(worker.port, ledger)
        worker.wait_drained()
    assert_nothing_lost(url, ledger)


def test_a_read_only_data_directory_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    ledger = Ledger()
    with small_disk(tmp_path / "disk", 32) as disk:
        url = f"sqlite:///{tmp_path / 'uar.db'}"
        (disk / "data").mkdir()
        remount(disk, "ro")
        worker = RunningWorker(disk / "data", url)
        worker.start(wait=False)
        assert worker.wait_end() == 1
        sentence = worker.log_text().strip().splitlines()[-1]
        assert "Read-only file system" in sentence
        assert str(disk / "data") in sentence
        assert "Traceback" not in worker.log_text()
        remount(disk, "rw")
        with worker:
            with Sender(worker.port, ledger, range(100)) as sender:
                sender.join()
            worker.wait_drained()
        assert_nothing_lost(url, ledger)


def spooled(folder: Path, count: int) -> tuple[RunningWorker, Ledger]:
    """A worker that was killed with so many deliveries in its spool, and no store yet."""
    ledger = Ledger()
    worker = RunningWorker(folder / "data", UNREACHABLE)
    with worker:
        with Sender(worker.port, ledger, range(count)) as sender:
            sender.join()
        worker.kill()
    worker.database_url = f"sqlite:///{folder / 'uar.db'}"
    return worker, ledger


def test_a_log_of_the_spool_that_is_damaged_at_its_end_keeps_what_lies_before(tmp_path: Path) -> None:
    worker, ledger = spooled(tmp_path, 400)
    log = tmp_path / "data" / "spool.db-wal"
    os.truncate(log, log.stat().st_size - 2_000)
    with worker:
        worker.wait_drained()
        with Sender(worker.port, ledger, range(400, 500)) as sender:
            sender.join()
        worker.wait_drained()
    verdict = judge(open_store(worker.database_url), ledger)
    assert (verdict.twice, verdict.unknown, verdict.changed) == ([], [], []), str(verdict)
    # Only the last commit is gone, at most one group of the eight connections.
    assert len(verdict.lost) <= 8
    assert set(verdict.lost) <= set(range(380, 400))


def test_a_spool_file_that_is_damaged_is_set_aside_and_what_is_readable_is_stored(tmp_path: Path) -> None:
    worker, ledger = spooled(tmp_path, 2_000)
    worker.database_url = UNREACHABLE
    with worker:
        worker.terminate()  # an orderly end brings the log into the file
        file = tmp_path / "data" / "spool.db"
        os.truncate(file, file.stat().st_size - 4 * 4_096)
        worker.database_url = f"sqlite:///{tmp_path / 'uar.db'}"
        worker.start()
        with Sender(worker.port, ledger, range(2_000, 2_100)) as sender:
            sender.join()
        worker.wait_drained()
        assert any("The spool file was damaged" in line["message"] for line in worker.log_lines())
    assert len(list((tmp_path / "data").glob("spool-damaged-*.db"))) == 1
    verdict = judge(open_store(worker.database_url), ledger)
    assert (verdict.twice, verdict.unknown, verdict.changed) == ([], [], []), str(verdict)
    assert verdict.stored > 1_500
    assert set(range(2_000, 2_100)).isdisjoint(verdict.lost)


@contextmanager
def attached(command: tuple[str, ...], pid: int) -> Iterator[None]:
    """strace on every thread of a running process."""
    process = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE, preexec_fn=ends_with_parent(signal.SIGTERM))
    assert process.stderr is not None
    said = process.stderr.readline()
    if b"attached" not in said:
        pytest.fail(f"strace may not look at another process here ({said.decode().strip()}): it needs root or CAP_SYS_PTRACE.")
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def strace() -> str:
    """strace, which delays or fails system calls of another program."""
    found = shutil.which("strace")
    if found is None:
        pytest.fail(
            "strace is not installed, so no slow disk can be made: apt-get install strace (scripts/find_operation_tools.sh does it)"
        )
    return found


def slow_syncs(folder: Path, delay_ms: int) -> tuple[str, ...]:
    """The command for `attached` that delays every sync to disk; strace writes them down in `folder`."""
    calls = "fsync,fdatasync"
    return (strace(), "-f", "-o", str(folder / "calls"), "-e", f"trace={calls}", "-e", f"inject={calls}:delay_enter={delay_ms}ms")


@pytest.mark.parametrize(("delay_ms", "status", "buckets"), [(300, 202, ("0.25", "5.0")), (6_000, 503, ("2.5", "5.0"))])
def test_a_slow_disk_makes_larger_groups_and_at_last_503_in_time(
    tmp_path: Path, delay_ms: int, status: int, buckets: tuple[str, str]
) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data", UNREACHABLE) as worker:
        with attached(slow_syncs(tmp_path, delay_ms), worker.pid):
            with Sender(worker.port, ledger, range(64), connections=32) as sender:
                sender.join()
            assert set(ledger.statuses) == {status}
            assert min(delay_ms / 1000, 2.5) < max(ledger.seconds) < 5.0
            assert ledger.without_retry_after == 0
            assert worker.answers("accepted" if status == 202 else "not_durable") == 64
            below, up_to = [worker.metric(f'uar_ack_duration_seconds_bucket{{le="{bound}"}}') for bound in buckets]
            assert (below, up_to) == (0, 64)
            assert float(buckets[0]) * 64 < worker.metric("uar_ack_duration_seconds_sum") < sum(ledger.seconds)
        with Sender(worker.port, ledger, itertools.count(64), rate=20) as sender:
            wait_for(ledger, 202, 5)
            sender.stop()
        send_until_acked(worker.port, ledger)
        worker.terminate()
        worker.database_url = f"sqlite:///{tmp_path / 'uar.db'}"
        worker.start()
        worker.wait_drained()
    assert (tmp_path / "calls").read_text().count("DELAYED") > 0
    assert ledger.acked == ledger.sent
    assert_nothing_lost(worker.database_url, ledger)
