"""A worker that lacks what it needs for a while: sound syncs, a lock, files, memory, its turn, a login, a place for its log lines."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from pysqlite3 import dbapi2 as sqlite

from tests.reliability.postgres import PostgresServer
from tests.reliability.power import power_disk
from tests.reliability.running import STOP_LIMIT_S, RunningWorker
from tests.reliability.sender import Ledger, Sender, send_until_acked
from tests.reliability.test_disk import attached, strace, wait_for
from tests.reliability.test_pressure import large_request
from tests.reliability.verdict import assert_nothing_lost

RATE = 100.0
SLOWEST_S = 3.5  # senders give up after 5 s


@contextmanager
def loaded(worker: RunningWorker, slowest_s: float = SLOWEST_S, connections: int = 256) -> Iterator[Ledger]:
    """Deliveries to a running worker while the block runs; in the end all are acknowledged and stored once, and it is ready."""
    ledger = Ledger()
    with Sender(worker.port, ledger, itertools.count(), connections=connections, rate=RATE) as sender:
        wait_for(ledger, 202)
        yield ledger
        wait_for(ledger, 202)
        sender.stop()
    send_until_acked(worker.port, ledger)
    worker.wait_drained()
    assert ledger.statuses.keys() <= {202, 503}
    assert ledger.without_retry_after == 0
    assert max(ledger.seconds) < slowest_s
    assert worker.readiness() == (200, b"ready\n")
    assert_nothing_lost(worker.database_url, ledger)


def test_a_sync_that_fails_is_not_acknowledged_and_heals_by_itself(tmp_path: Path) -> None:
    calls = "fsync,fdatasync"
    failing = (strace(), "-f", "-o", str(tmp_path / "calls"), "-e", f"trace={calls},openat,ftruncate", "-e")
    with RunningWorker(tmp_path / "data", f"sqlite:///{tmp_path / 'uar.db'}") as worker, loaded(worker) as ledger:
        with attached((*failing, f"inject={calls}:error=EIO:when=1"), worker.pid):
            wait_for(ledger, 503, 1)
            wait_for(ledger, 202)
        opened, emptied = after_the_failure(tmp_path / "calls")
        assert opened < emptied  # only a log that was copied into the file is emptied
        with attached((*failing, f"inject={calls}:error=EIO"), worker.pid):
            wait_for(ledger, 503)
            assert worker.readiness() == (503, b"the spool cannot commit\n")


def after_the_failure(calls: Path) -> tuple[int, int]:
    """When, after the first call that failed, the spool was opened and its log was emptied; in lines, as strace wrote them."""
    after = calls.read_text().partition("EIO")[2].splitlines()
    opened = [place for place, call in enumerate(after) if '/spool.db"' in call]
    emptied = [place for place, call in enumerate(after) if re.search(r"ftruncate\(\d+, 0\) += 0$", call)]
    assert opened, after
    assert emptied, after
    return opened[0], emptied[0]


@contextmanager
def read_only(*paths: Path) -> Iterator[None]:
    """The kernel refuses to write, also through what is open already. A file system cannot be mounted read-only while files are open."""
    subprocess.run(["chattr", "+i", *map(str, paths)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *map(str, paths)], check=True)


def test_a_data_directory_that_turns_read_only_gets_503_and_heals_by_itself(tmp_path: Path) -> None:
    data = tmp_path / "disk" / "data"
    with (
        power_disk(data.parent, "ext4"),
        RunningWorker(data, f"sqlite:///{tmp_path / 'uar.db'}") as worker,
        loaded(worker) as ledger,
        read_only(data / "spool.db", data / "spool.db-wal", data),
    ):
        wait_for(ledger, 503)
        assert worker.readiness() == (503, b"the spool cannot commit\n")
        assert worker.ask("/healthz")[0] == 200
        before = ledger.statuses[202]
        wait_for(ledger, 503)
        assert ledger.statuses[202] == before


def test_a_lock_on_the_spool_by_another_program_gets_503_in_time_and_no_pile(tmp_path: Path) -> None:
    with (
        RunningWorker(tmp_path / "data") as worker,
        loaded(worker) as ledger,
        closing(sqlite.connect(str(tmp_path / "data" / "spool.db"), isolation_level=None)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        wait_for(ledger, 503, 50)
        other.execute("ROLLBACK")


def test_a_reader_that_holds_one_state_for_long_disturbs_nothing(tmp_path: Path) -> None:
    with RunningWorker(tmp_path / "data") as worker, ExitStack() as readers:
        for name in ("spool.db", "uar.db"):
            reader = readers.enter_context(closing(sqlite.connect(str(tmp_path / "data" / name), isolation_level=None)))
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with loaded(worker) as ledger:
            time.sleep(0.5)
        assert set(ledger.statuses) == {202}
        assert max(ledger.seconds) < 1.0


def test_without_a_free_file_open_connections_are_served_and_it_goes_on_afterwards(tmp_path: Path) -> None:
    with RunningWorker(tmp_path / "data") as worker, loaded(worker, connections=4) as ledger:
        before = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, before[1]))  # what is open stays open, and no number is left
        wait_for(ledger, 202, 100)
        with socket.create_connection(("127.0.0.1", worker.port), timeout=0.5) as new, suppress(OSError):
            new.sendall(b"GET /healthz HTTP/1.1\r\nHost: worker\r\n\r\n")
            assert new.recv(1) == b""  # nobody new gets in
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, before)
        assert set(ledger.statuses) == {202}


def test_a_memory_limit_under_large_bodies_loses_nothing(tmp_path: Path) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data") as worker:
        limit = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[0]) * resource.getpagesize() + 48 * 1024 * 1024
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (limit, limit))
        with Sender(
            worker.port, ledger, range(70), connections=64, make_request=lambda number: large_request(number, ledger.newest)
        ) as sender:
            sender.join()
        assert ledger.statuses.keys() <= {202, 413, 503}
        if worker.exit_code() is None:
            worker.kill()
        worker.start()
        send_until_acked(worker.port, ledger)
        worker.wait_drained()
    assert_nothing_lost(worker.database_url, ledger)


def test_a_worker_that_stands_still_for_seconds_and_then_has_a_tenth_of_its_time_loses_nothing(tmp_path: Path) -> None:
    with RunningWorker(tmp_path / "data") as worker, loaded(worker, 5.0):
        worker.signal(signal.SIGSTOP)
        time.sleep(3.0)
        worker.signal(signal.SIGCONT)
        for _ in range(10):
            time.sleep(0.01)
            worker.signal(signal.SIGSTOP)
            time.sleep(0.09)
            worker.signal(signal.SIGCONT)


def test_a_database_that_refuses_the_login_is_asked_seldom_and_noticed_by_no_sender(
    tmp_path: Path, server: PostgresServer, postgresql_url: str
) -> None:
    name = postgresql_url.rsplit("/", 1)[1]
    with RunningWorker(tmp_path / "data", postgresql_url) as worker, loaded(worker) as ledger:
        with psycopg.connect(server.url("postgres", "postgresql"), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[arg-type]
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            time.sleep(3.0)
            assert worker.readiness() == (200, b"degraded: the store cannot be used\n")
            assert 1 <= (server.folder / "log").read_text(errors="replace").count(f'database "{name}" is not currently') <= 6
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[arg-type]
        assert set(ledger.statuses) == {202}


@pytest.mark.parametrize("target", ["a full disk", "a blocked pipe"])
def test_a_log_that_nobody_takes_stops_no_delivery(tmp_path: Path, target: str) -> None:
    path = "/dev/full"
    with ExitStack() as held:
        if target == "a blocked pipe":
            path = str(tmp_path / "pipe")
            os.mkfifo(path)
            pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            held.callback(os.close, pipe)
            os.write(pipe, b"x" * fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ))
        worker = held.enter_context(RunningWorker(tmp_path / "data", prefix=("sh", "-c", f'exec "$@" 2>{path}', "sh")))
        with loaded(worker):
            assert worker.post(b"POST /webhooks/forge HTTP/1.1\r\nContent-Length: 0\r\n\r\n") == 404  # which it wants to tell
        assert (worker.metric("uar_dropped_log_lines_total") > 0) is (target == "a full disk")
        exit_code, seconds = worker.terminate()
        assert (exit_code, seconds < STOP_LIMIT_S) == (0, True)
