"""The process that writes into the store: killed, hanging, left alone or asked to end, it neither loses nor doubles, and it never stays."""

from __future__ import annotations

import http.client
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import psutil
import pytest
from pysqlite3 import dbapi2 as sqlite

import uar.capture.drain
import uar.capture.writer_process
from tests.capture.running import RunningWorker, all_sources
from tests.capture.senders import datacenter_headers
from tests.capture.test_drain import Line, outcomes, page, query
from tests.capture.test_spool import LIMIT, wait_for
from uar.activity import Source
from uar.capture.spool import Spool
from uar.capture.spool_file import SpoolBroken
from uar.capture.writer_process import WriterProcess
from uar.config import load_settings
from uar.store.database import Engine, StoreError, StoreUnavailable, open_store, read_transaction

COUNT = 3_000
SENDERS = 8


class Ledger:
    """What was sent and what was acknowledged, by page id."""

    def __init__(self) -> None:
        self.sent: set[int] = set()
        self.acknowledged: set[int] = set()
        self.other_answers: set[int] = set()
        self._next = 0
        self._lock = threading.Lock()

    def next_id(self) -> int:
        """The id of a new delivery."""
        with self._lock:
            self._next += 1
            self.sent.add(self._next)
            return self._next

    def compare(self, store: Engine) -> None:
        """Fails on any loss or double, and if nothing was acknowledged at all."""
        with read_transaction(store) as connection:
            rows = connection.exec_driver_sql("SELECT content_id, count(*) FROM activity_log GROUP BY content_id").fetchall()
        stored = {int(row[0]): int(row[1]) for row in rows}
        assert len(self.acknowledged) > 100
        assert self.acknowledged - stored.keys() == set(), "acknowledged and lost"
        assert {number for number, count in stored.items() if count > 1} == set(), "counted twice"
        assert stored.keys() - self.sent == set()
        assert self.other_answers <= {503}


def send_until(stop: threading.Event, worker: RunningWorker, ledger: Ledger) -> None:
    """One sender on one connection: a new delivery as soon as the last is answered; what got no answer is sent once more."""
    unanswered: list[int] = []
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=5)
    while not stop.is_set():
        number = unanswered.pop() if unanswered else ledger.next_id()
        body = orjson.dumps({"timestamp": 1_772_532_000_000 + number, "event": "page_updated", "userKey": "k", "page": {"id": number}})
        try:
            connection.request("POST", "/webhooks/datacenter/wiki", body, datacenter_headers(body, request_id=str(number)))
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            unanswered.append(number)
            connection.close()
            time.sleep(0.02)
            continue
        if answer.status == 202:
            ledger.acknowledged.add(number)
        else:
            ledger.other_answers.add(answer.status)
    connection.close()


def under_load(worker: RunningWorker, ledger: Ledger, seconds: float, number: signal.Signals) -> int:
    """Sends from all sides, then ends the worker in the midst of it; its exit code."""
    stop = threading.Event()
    senders = [threading.Thread(target=send_until, args=(stop, worker, ledger)) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    time.sleep(seconds)
    code = worker.stop(number)
    stop.set()
    for sender in senders:
        sender.join()
    return code


def child_of(pid: int) -> psutil.Process:
    """The writer's process that a worker, or this test, has started."""

    def writers() -> list[psutil.Process]:
        alive = [child for child in psutil.Process(pid).children() if not has_ended(child)]
        return [child for child in alive if "writer_process" in " ".join(child.cmdline())]

    wait_for(lambda: len(writers()) == 1)
    return writers()[0]


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or dead and only not yet noticed by whoever inherited it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def writer_of(folder: Path, store_url: str) -> WriterProcess:
    """A writer in a process of its own, as in a worker with this data directory."""
    return WriterProcess(load_settings({"UAR_DATA_DIR": str(folder), "UAR_DATABASE_URL": store_url}, folder))


@contextmanager
def line_there(folder: Path, store_url: str) -> Iterator[Line]:
    """A spool and a drain with such a writer."""
    line = Line(folder, writer_of(folder, store_url))
    line.drain.start()
    try:
        yield line
    finally:
        line.stop()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A SQLite store into which nobody can write."""
    other = sqlite.connect(str(path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_writer_killed_in_the_middle_neither_loses_nor_doubles(
    store: Engine, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uar.capture.drain, "FIRST_RETRY_S", 0.05)
    with line_there(tmp_path, store_url) as line:
        first = child_of(os.getpid())
        assert store_url not in first.cmdline()
        for number in range(COUNT):
            line.send(Source.DATACENTER, page(number))
            if number == COUNT // 2:
                line.settle()
                assert first.nice() == 10
                first.suspend()
                line.metrics.refused(Source.FORGE, "", "wrong signature")
        wait_for(lambda: not line.metrics._pending)
        first.kill()
        line.settle()
        wait_for(lambda: not line.drain.is_degraded)
        second = child_of(os.getpid())
    assert has_ended(second)
    assert query(store, "SELECT count(*), count(DISTINCT content_id) FROM activity_log") == [(COUNT, COUNT)]
    assert outcomes(store)[Source.FORGE, "refused: wrong signature"] == 1
    assert query(store, "SELECT count(*) FROM coverage") == [(1,)]
    said = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert said == ["The process that writes into the store ended (signal 9). Deliveries wait in the spool meanwhile."]


def test_what_goes_wrong_in_the_writer_arrives_with_its_sentence(tmp_path: Path) -> None:
    (tmp_path / "uar.db").write_bytes(b"nonsense" * 1000)
    writer = writer_of(tmp_path, f"sqlite:///{tmp_path / 'uar.db'}")
    with pytest.raises(SpoolBroken, match="The spool cannot be read"):
        writer.bring({}, 1)
    with pytest.raises((StoreError, StoreUnavailable), match="file is not a database"):
        writer.open("test", 1)
    child = child_of(os.getpid())
    writer.close()
    assert has_ended(child)
    with pytest.raises(StoreUnavailable):
        writer.beat(1, {}, 1)


def test_a_writer_that_hangs_in_the_store_is_ended_in_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'uar.db'}"
    open_store(url).dispose()
    with locked(tmp_path / "uar.db"), line_there(tmp_path, url) as line:
        child = child_of(os.getpid())
        wait_for(lambda: bool(child.open_files()))
        started_at = time.monotonic()
        line.drain.stop(0.5)
        assert has_ended(child)
        assert time.monotonic() - started_at < 3


def test_a_store_that_never_answers_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uar.capture.writer_process, "ANSWER_WITHIN_S", 0.3)
    writer = writer_of(tmp_path, f"sqlite:///{tmp_path / 'uar.db'}")
    Spool(tmp_path / "spool.db", LIMIT, lambda waiters, is_durable: None).stop(5)
    opened = writer.open("test", 1)
    with locked(tmp_path / "uar.db"), pytest.raises(StoreUnavailable, match="ended"):
        writer.beat(opened.coverage_id, {}, 2)
    monkeypatch.undo()
    writer.beat(opened.coverage_id, {}, 3)  # by another one
    writer.close()


def test_a_worker_that_is_killed_leaves_no_writer_behind_even_if_the_store_hangs(tmp_path: Path) -> None:
    worker = RunningWorker(tmp_path, all_sources())
    child = child_of(worker.process.pid)
    assert worker.post_datacenter(b'{"event": "page_created", "page": {"id": 1}}') == 202
    worker.wait_until_drained()
    with locked(tmp_path / "uar.db"):
        assert worker.post_datacenter(b'{"event": "page_created", "page": {"id": 2}}') == 202
        time.sleep(0.3)
        child.suspend()  # so that it cannot have ended before anybody looks
        worker.stop(signal.SIGKILL)
        assert not has_ended(child)
        child.resume()
        wait_for(lambda: has_ended(child))


class WholeGroup(RunningWorker):
    """A worker whose signals its writer gets too, as from a terminal or from systemd."""

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            child_of(self.process.pid).send_signal(number)
        return super().stop(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_ends_them_in_order_and_what_was_spooled_is_stored(tmp_path: Path, number: signal.Signals) -> None:
    worker, ledger = WholeGroup(tmp_path, all_sources()), Ledger()
    child = child_of(worker.process.pid)
    assert under_load(worker, ledger, 0.7, number) == 0, worker.log()
    assert has_ended(child)
    assert "ended" not in worker.log()
    engine = open_store(f"sqlite:///{tmp_path / 'uar.db'}")
    ledger.compare(engine)
    engine.dispose()
