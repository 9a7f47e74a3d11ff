"""What can happen to the store while deliveries come: senders notice nothing, the spool waits, and in the end every row is there once."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import uar.capture.drain
from tests.capture.test_drain import Line, page
from tests.capture.test_spool import wait_for
from tests.capture.test_writer_process import child_of
from tests.reliability.postgres import PostgresServer
from tests.reliability.proxy import Proxy
from tests.reliability.running import RunningWorker
from tests.reliability.sender import Ledger, Sender
from tests.reliability.verdict import assert_nothing_lost, stored_count
from uar.activity import Source
from uar.capture.writer_process import WriterProcess
from uar.config import load_settings
from uar.store.database import open_store

RATE = 200.0
ROUNDS, KILLS_FROM = 20, 18
SLOWEST_S = 3.5  # senders give up after 5 s


@contextmanager
def under_load(folder: Path, database_url: str, judged_url: str | None = None) -> Iterator[tuple[RunningWorker, Ledger]]:
    """A worker that gets deliveries while the block runs; afterwards every one must be acknowledged, in time, and stored once."""
    ledger = Ledger()
    with RunningWorker(folder / "data", database_url) as worker:
        with Sender(worker.port, ledger, itertools.count(), rate=RATE) as sender:
            time.sleep(0.3)
            yield worker, ledger
            time.sleep(0.3)
            sender.stop()
        worker.wait_drained()
        assert (set(ledger.statuses), ledger.broken) == ({202}, 0)
        assert max(ledger.seconds) < SLOWEST_S
        assert worker.readiness() == (200, b"ready\n")
    assert_nothing_lost(judged_url or database_url, ledger)


def test_a_store_that_is_down_for_a_while_is_noticed_by_no_sender(tmp_path: Path, server: PostgresServer, postgresql_url: str) -> None:
    with under_load(tmp_path, postgresql_url) as (worker, _):
        server.stop()
        try:
            time.sleep(3.0)
            assert worker.readiness() == (200, b"degraded: the store cannot be used\n")
            assert worker.metric("uar_spool_deliveries") > RATE
            assert worker.metric("uar_store_errors_total") >= 1
            assert worker.metric("uar_spool_oldest_age_seconds") > 2
        finally:
            server.start()


def test_a_store_that_crashes_is_noticed_by_no_sender(tmp_path: Path, server: PostgresServer, postgresql_url: str) -> None:
    with under_load(tmp_path, postgresql_url):
        server.stop(signal.SIGQUIT)
        time.sleep(0.3)
        server.start()
        time.sleep(1.0)


def test_a_store_that_hangs_is_noticed_by_no_sender(tmp_path: Path, server: PostgresServer, postgresql_url: str) -> None:
    with under_load(tmp_path, postgresql_url):
        server.freeze()
        try:
            time.sleep(3.0)
        finally:
            server.thaw()


@contextmanager
def proxied(server: PostgresServer, url: str) -> Iterator[tuple[Proxy, str]]:
    """A network between worker and store that does as it is told, and the address of the store through it."""
    with Proxy("127.0.0.1", server.port) as proxy:
        yield proxy, url.replace(f":{server.port}/", f":{proxy.port}/")


def test_a_slow_store_makes_no_answer_slow(tmp_path: Path, server: PostgresServer, postgresql_url: str) -> None:
    with proxied(server, postgresql_url) as (proxy, through):
        with under_load(tmp_path, through, postgresql_url) as (worker, ledger):
            proxy.delay_s = 0.2
            time.sleep(3.0)
            proxy.delay_s = 0.0
            assert worker.readiness()[0] == 200
        assert ledger.percentile(0.99) < 1.0


def test_a_connection_cut_in_the_middle_of_a_commit_neither_loses_nor_doubles(
    tmp_path: Path, server: PostgresServer, postgresql_url: str
) -> None:
    with proxied(server, postgresql_url) as (proxy, through):
        with under_load(tmp_path, through, postgresql_url):
            proxy.cut_answer_to = b"COMMIT"
            deadline = time.monotonic() + 60
            while proxy.cuts < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            proxy.cut_answer_to = None
        assert proxy.cuts >= 3


def test_a_network_that_breaks_and_refuses_is_noticed_by_no_sender(tmp_path: Path, server: PostgresServer, postgresql_url: str) -> None:
    with proxied(server, postgresql_url) as (proxy, through), under_load(tmp_path, through, postgresql_url):
        proxy.is_refusing = True
        proxy.cut_all()
        time.sleep(2.0)
        proxy.is_refusing = False


def test_a_black_hole_between_worker_and_store_is_noticed_by_no_sender(tmp_path: Path, server: PostgresServer, postgresql_url: str) -> None:
    with proxied(server, postgresql_url) as (proxy, through), under_load(tmp_path, through, postgresql_url) as (worker, _):
        proxy.is_frozen = True  # what is under way hangs
        time.sleep(1.0)
        assert worker.metric("uar_spool_deliveries") > RATE / 2
        proxy.cut_all()  # and now every new connection
        time.sleep(1.5)
        assert worker.readiness() == (200, b"degraded: the store cannot be used\n")
        assert worker.metric("uar_spool_deliveries") > RATE
        proxy.is_frozen = False


def test_a_line_of_one_kilobyte_a_second_makes_no_answer_slow(tmp_path: Path, server: PostgresServer, postgresql_url: str) -> None:
    with proxied(server, postgresql_url) as (proxy, through):
        with under_load(tmp_path, through, postgresql_url) as (worker, ledger):
            proxy.bytes_per_s = 1_000
            time.sleep(1.5)
            assert worker.metric("uar_spool_deliveries") > RATE
            proxy.bytes_per_s = 0
        assert ledger.percentile(0.99) < 1.0


def test_many_failures_leave_no_thread_file_or_connection_behind(
    tmp_path: Path, server: PostgresServer, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uar.capture.drain, "FIRST_RETRY_S", 0.02)
    with proxied(server, postgresql_url) as (proxy, through):
        settings = load_settings({"UAR_DATA_DIR": str(tmp_path), "UAR_DATABASE_URL": through}, tmp_path)
        line = Line(tmp_path, WriterProcess(settings))
        line.drain.start()
        held = []
        for number in range(ROUNDS):
            if number >= KILLS_FROM:
                child_of(os.getpid()).kill()
            proxy.is_refusing = True
            proxy.cut_all()
            line.send(Source.DATACENTER, page(number), delivery_id=str(number))
            wait_for(lambda: line.drain.is_degraded)
            proxy.is_refusing = False
            line.settle()
            wait_for(lambda: not line.drain.is_degraded)
            held.append((open_things(psutil.Process()), open_things(child_of(os.getpid()))))
        line.stop()
    worker, child = zip(*held, strict=True)
    assert max(worker[-3:]) <= max(worker[:3]), worker
    assert max(child[KILLS_FROM - 3 : KILLS_FROM]) <= max(child[:3]), child
    engine = open_store(postgresql_url)
    assert stored_count(engine) == ROUNDS
    engine.dispose()


def open_things(process: psutil.Process) -> int:
    """How many threads and open files it has."""
    return process.num_threads() + process.num_fds()


def test_a_lock_on_the_sqlite_store_by_another_program_is_noticed_by_no_sender(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'data' / 'uar.db'}"
    with under_load(tmp_path, url) as (worker, _):
        other = sqlite3.connect(tmp_path / "data" / "uar.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(3.0)
        assert worker.metric("uar_spool_deliveries") > RATE
        other.execute("ROLLBACK")
        other.close()


def test_two_workers_feed_one_postgresql_and_the_same_delivery_to_both_counts_once(tmp_path: Path, postgresql_url: str) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "one", postgresql_url) as one, RunningWorker(tmp_path / "two", postgresql_url) as two:
        with Sender(one.port, ledger, range(2_000)) as first, Sender(two.port, ledger, range(1_000, 3_000)) as second:
            first.join()
            second.join()
        one.wait_drained()
        two.wait_drained()
    assert (ledger.statuses[202], len(ledger.acked)) == (4_000, 3_000)
    assert_nothing_lost(postgresql_url, ledger)
    engine = open_store(postgresql_url)
    assert stored_count(engine) == 3_000
    engine.dispose()


def test_many_deliveries_that_wait_are_drained_by_the_next_start(tmp_path: Path, database_url: str) -> None:
    waiting_and_drained(tmp_path, database_url, 6_000)


def waiting_and_drained(folder: Path, database_url: str, count: int) -> float:
    """Lets so many deliveries wait in the spool without a store, then starts with it; seconds from the start until all are stored."""
    ledger = Ledger()
    unreachable = "postgresql://nobody@127.0.0.1:1/none"
    worker = RunningWorker(folder / "data", unreachable, spool_limit_mb="4096")
    with worker:
        with Sender(worker.port, ledger, range(count), connections=128) as sender:
            sender.join(60 + count / 500)
        assert worker.metric("uar_spool_deliveries") == count
        acked_at = time.monotonic()
        worker.terminate()
        worker.database_url = database_url
        away_s = time.monotonic() - acked_at
        assert worker.start() < 10.0
        seconds = worker.wait_drained(60 + count / 500)
        assert away_s < worker.metric("uar_drain_lag_seconds") < time.monotonic() - acked_at + max(ledger.seconds) + 0.1
    assert (set(ledger.statuses), len(ledger.acked)) == ({202}, count)
    assert_nothing_lost(database_url, ledger)
    return seconds
