"""Crashes and stops under load: what was acknowledged is in the store exactly once, and the worker starts again without manual work."""

from __future__ import annotations

import itertools
import random
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.reliability.postgres import PostgresServer
from tests.reliability.running import STOP_LIMIT_S, RunningWorker
from tests.reliability.sender import Ledger, Sender, datacenter_request, send_until_acked
from tests.reliability.verdict import assert_nothing_lost

KILLS = 4  # `python -m tests.reliability.soak` does many more
RATE = 400.0
READY_LIMIT_S = 5.0


def kill_and_judge(folder: Path, database_url: str, kills: int, seed: int = 0) -> Ledger:
    """Kills a worker under load so many times, each at another moment, and demands that nothing was lost."""
    moments = random.Random(seed)
    ledger = Ledger()
    with RunningWorker(folder / "data", database_url) as worker, Sender(worker.port, ledger, itertools.count(), rate=RATE) as sender:
        for _ in range(kills):
            time.sleep(moments.uniform(0.05, 0.8))
            worker.kill()
            assert worker.start() < READY_LIMIT_S * 2
        time.sleep(0.3)
        sender.stop()
        send_until_acked(worker.port, ledger)
        worker.wait_drained()
    assert_nothing_lost(database_url, ledger)
    assert ledger.acked == ledger.sent
    return ledger


def test_a_worker_killed_at_any_moment_loses_nothing(tmp_path: Path, database_url: str) -> None:
    ledger = kill_and_judge(tmp_path, database_url, KILLS)
    assert ledger.broken >= KILLS


def test_a_worker_asked_to_stop_under_load_answers_what_it_took_and_ends_in_time(tmp_path: Path, database_url: str) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data", database_url) as worker, Sender(worker.port, ledger, itertools.count(), rate=RATE) as sender:
        time.sleep(1.0)
        exit_code, seconds = worker.terminate()
        sender.stop()
        assert (exit_code, seconds < STOP_LIMIT_S) == (0, True)
        assert ledger.statuses.keys() <= {202, 503}
        worker.start()
        send_until_acked(worker.port, ledger)
        worker.wait_drained()
    assert_nothing_lost(database_url, ledger)


def spooled(data_dir: Path) -> int:
    """How many deliveries wait in the spool of a worker that does not run."""
    with closing(sqlite3.connect(data_dir / "spool.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM deliveries").fetchone()[0])


HANGING_AT = """
CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
CREATE TRIGGER hang BEFORE INSERT ON activities FOR EACH ROW WHEN (NEW.content_id = '1500') EXECUTE FUNCTION hang();
"""


@contextmanager
def store_hanging_half_way(url: str) -> Iterator[Callable[[], bool]]:
    """A store that takes what comes before delivery 1,500, and hangs at that one while the block runs; tells whether it hangs already."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(HANGING_AT)
        connection.execute("SELECT pg_advisory_lock(1)")
        yield lambda: connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").rowcount > 0


def test_a_worker_stopped_while_it_drains_goes_on_after_its_next_start(tmp_path: Path, postgresql_url: str) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data", postgresql_url) as worker:
        with store_hanging_half_way(postgresql_url) as hangs:
            with Sender(worker.port, ledger, range(4_000), connections=16) as sender:
                sender.join()
            deadline = time.monotonic() + 60
            while not hangs():
                assert time.monotonic() < deadline, worker.log_text()[-2_000:]
                time.sleep(0.05)
            exit_code, seconds = worker.terminate()
            assert (exit_code, seconds < STOP_LIMIT_S) == (0, True)
            assert 2_000 < spooled(tmp_path / "data") < 4_000
        worker.start()
        worker.wait_drained()
    assert len(ledger.acked) == 4_000
    assert_nothing_lost(postgresql_url, ledger)


def test_a_stop_is_in_time_whoever_hangs(tmp_path: Path, server: PostgresServer, postgresql_url: str) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data", postgresql_url) as worker, ExitStack() as hanging:
        with Sender(worker.port, ledger, range(50)) as sender:
            sender.join()
        worker.wait_drained()
        server.freeze()
        hanging.callback(server.thaw)
        with Sender(worker.port, ledger, range(50, 100)) as sender:
            sender.join()
        half, deaf = (hanging.enter_context(socket.create_connection(("127.0.0.1", worker.port))) for _ in range(2))
        half.sendall(datacenter_request(100, ledger.newest)[:-5])
        deaf.setblocking(False)
        with suppress(BlockingIOError):  # it reads none of its answers, and in the end it is not read either
            while True:
                deaf.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        exit_code, seconds = worker.terminate()
        assert (exit_code, seconds < STOP_LIMIT_S) == (0, True), seconds
        hanging.close()
        worker.start()
        worker.wait_drained()
    assert len(ledger.acked) == 100
    assert_nothing_lost(postgresql_url, ledger)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_hurt(tmp_path: Path, number: signal.Signals) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data") as worker:
        with Sender(worker.port, ledger, itertools.count(), rate=RATE) as sender:
            time.sleep(0.5)
            worker.signal(number)
            worker.signal(number)
            assert worker.wait_end(STOP_LIMIT_S) == 0
            sender.stop()
        worker.start()
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)


def test_a_second_worker_on_one_data_directory_refuses_with_one_sentence(tmp_path: Path) -> None:
    with RunningWorker(tmp_path / "data") as first:
        second = RunningWorker(tmp_path / "data")
        second.start(wait=False)
        assert second.wait_end() == 1
        assert second.log_text().strip() == f"Another worker uses {tmp_path / 'data'}. Stop it, or give this one its own UAR_DATA_DIR."
        assert first.readiness()[0] == 200
